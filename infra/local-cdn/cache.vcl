# CloudFront's cache: fresh, stale-while-revalidate, stale-if-error, and purge by tag.
# run.py replaces @NAME@.
#
# If the cached object is not fresh, a request has at most three steps:
#   (first)  deliver it, and fetch a new one in the background. Only if stale-while-revalidate allows
#            that, and nothing was purged since the object was made.
#   fetch    otherwise, request it from the origin, as if nothing were cached.
#   last     if that fails, deliver the object, if stale-if-error allows that.
# A purge by tag ends the `ttl` of fresh objects, and does not change stale ones. So a stale object
# that is older than the last purge of any tag counts as purged.
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
        # If the origin hangs, viewers must not wait for each other's fetches one by one.
        set req.hash_ignore_busy = true;
    } else {
        set req.grace = 100d;  # no limit; the object's own grace counts. A restart keeps the 0.
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

# A cached object stays. Without one, the error is cached for a second, like ErrorCachingMinTTL 1.
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
