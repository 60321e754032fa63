function handler(event) {
delete event.request.headers['x-autorouter-key'];
return event.request;
}
