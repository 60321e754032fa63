# CloudFront's cache: fresh, stale while revalidated, stale if the origin fails, purged by tag.
# @NAME@ is filled in by run.py.
#
# A request that meets an object which is not fresh goes through at most three steps:
#   (first)  deliver it and fetch another behind it, while stale-while-revalidate allows that
#            and nothing was purged since it was made; else
#   fetch    ask the origin, as if nothing were there; else, if that fails,
#   last     deliver it after all, while stale-if-error allows that.
# A purge by tag cuts the `ttl` of fresh objects and leaves stale ones alone. So a stale one
# older than the last purge of anything counts as purged.
vcl 4.1;

import std;
import var;
import xkey;

backend origin {
    .host = "@ORIGIN_HOST@";
    .port = "@ORIGIN_PORT@";
    .connect_timeout = 1s;
    .first_byte_timeout = 1s;
    .between_bytes_timeout = 1s;
}

acl here {
    "127.0.0.1";
}

sub vcl_init {
    var.global_set("purged_at", "0");
}

sub vcl_recv {
    if (req.restarts == 0) {
        unset req.http.X-Step;
    }
    if (req.method == "PURGE") {
        if (client.ip !~ here || req.url != "/" || !req.http.xkey-purge) {
            return (synth(403));
        }
        var.global_set("purged_at", std.time2real(now, 0.0));
        set req.http.xkey-purged = xkey.softpurge(req.http.xkey-purge);
        return (synth(200));
    }
    if (req.method != "GET" && req.method != "HEAD") {
        return (synth(403));
    }
    if (req.http.X-Step == "fetch") {
        set req.grace = 0s;
        # When the origin hangs, viewers must not wait for one another's fetches in turn.
        set req.hash_ignore_busy = true;
    } else {
        set req.grace = 100d;  # what the object has; a restart keeps the 0
    }
    return (hash);
}

sub vcl_hash {
    hash_data(req.url);
    hash_data(req.http.X-Autorouter-Key);
    return (lookup);
}

sub vcl_hit {
    if (obj.ttl > 0s) {
        set req.http.X-Cache = "Hit";
    } else if (req.http.X-Step == "last") {
        set req.http.X-Cache = "Hit, stale-if-error";
    } else if (obj.ttl + std.duration(obj.http.X-Stale-While-Revalidate, 0s) > 0s
        && std.time2real(now - obj.age, 0.0) > std.real(var.global_get("purged_at"), 0.0)) {
        set req.http.X-Cache = "Hit, stale-while-revalidate";
    } else {
        set req.http.X-Step = "fetch";
        return (restart);
    }
    return (deliver);
}

sub vcl_miss {
    set req.http.X-Cache = "Miss";
}

sub vcl_backend_fetch {
    if (bereq.is_bgfetch && bereq.http.X-Step == "last") {
        return (abandon);
    }
    unset bereq.http.X-Cache;
    set bereq.http.X-Origin-Verify = """@SECRET@""";
}

sub vcl_backend_response {
    if (beresp.status >= 500) {
        call origin_failed;
        return (deliver);
    }
    set beresp.http.X-Stale-While-Revalidate = beresp.grace + "s";
    set beresp.grace = std.duration(
        regsub(beresp.http.Cache-Control, "^(?:.*[, ])?stale-if-error=([0-9]+).*$", "\1s"),
        beresp.grace
    );
}

sub vcl_backend_error {
    call origin_failed;
    set beresp.status = 504;
    set beresp.http.Content-Type = "text/html";
    set beresp.http.Cache-Control = "no-store";
    set beresp.body = "<!doctype html><title>504</title>The origin does not answer.";
    return (deliver);
}

# What is cached stays, if there is anything. Else the failure is kept for a second, which is
# what ErrorCachingMinTTL 1 means.
sub origin_failed {
    if (bereq.is_bgfetch || bereq.http.X-Step == "fetch") {
        return (abandon);
    }
    set beresp.ttl = 1s;
    set beresp.grace = 0s;
}

sub vcl_deliver {
    set resp.http.X-Cache = req.http.X-Cache;
    if (resp.status >= 500) {
        set resp.http.X-Cache = "Error";
    }
    unset resp.http.X-Stale-While-Revalidate;
    unset resp.http.X-Varnish;
    unset resp.http.Via;
}

sub vcl_synth {
    if (req.method == "PURGE") {
        set resp.http.xkey-purged = req.http.xkey-purged;
        set resp.body = "";
        return (deliver);
    }
    if (req.http.X-Step == "fetch") {
        set req.http.X-Step = "last";
        return (restart);
    }
}
