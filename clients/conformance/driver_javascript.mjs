// Drives the JavaScript client. Commands come as JSON lines; see driver_python.py.
import { createInterface } from "node:readline";

import { Autorouter, NoEdgeError } from "../javascript/autorouter.mjs";

let client;
let ahead = 0;

async function run({ do: what, ...command }) {
  if (what === "create") {
    const now = () => performance.now() / 1000 + ahead;
    client = new Autorouter(command.router, { ...command, now });
  } else if (what === "advance") {
    ahead += command.seconds;
  } else if (what === "jump") {
    const wall = Date.now;
    Date.now = () => wall() + command.seconds * 1000;
  } else if (what === "request") {
    const sent = Array.from({ length: command.times ?? 1 }, () => request(command));
    const told = await Promise.all(sent);
    return told.find((one) => !one.ok) ?? told[0];
  }
  return { ok: true };
}

async function request({ method, path }) {
  const body = method === "POST" ? "{}" : undefined;
  try {
    const signal = AbortSignal.timeout(3000);
    const answer = await client.request(path, { method, body, signal });
    await answer.arrayBuffer();
    return { ok: answer.ok, status: answer.status };
  } catch (error) {
    return { ok: false, error: error instanceof NoEdgeError ? error.code : String(error.cause ?? error) };
  }
}

for await (const line of createInterface({ input: process.stdin })) {
  console.log(JSON.stringify(await run(JSON.parse(line))));
}
