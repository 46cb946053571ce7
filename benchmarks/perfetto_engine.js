// Runs the trace processor of Perfetto's UI, a WebAssembly worker, outside a browser.
//
//   node perfetto_engine.js FOLDER-OF-THE-UI < requests > replies
//
// Requests and replies are streams of `TraceProcessorRpcStream` (protobuf), as the UI sends them
// to its worker; benchmarks/perfetto.py writes and reads them.
"use strict";
const fs = require("fs");
const path = require("path");
const vm = require("vm");

const FOLDER = process.argv[2];
const START_SECONDS = 60;

// The worker was built for browsers only: it takes a process of this type for one.
process.type = "renderer";
globalThis.self = globalThis;
globalThis.location = { href: "http://localhost/engine_bundle.js" };
globalThis.WorkerGlobalScope = function () {};
globalThis.importScripts = () => {};
globalThis.XMLHttpRequest = class {
  open(_method, url) {
    this.url = url;
  }
  send() {
    this.response = fs.readFileSync(path.join(FOLDER, path.basename(this.url)));
  }
};
// Replies have stdout for themselves.
console.log = console.warn = () => {};

vm.runInThisContext(fs.readFileSync(path.join(FOLDER, "engine_bundle.js"), "utf8"));

function write(reply) {
  for (let done = 0; done < reply.length; ) done += fs.writeSync(1, reply, done);
}

const port = { postMessage: write };
self.onmessage({ data: port });

// Waits until the module has started; an empty request has no other effect.
async function started() {
  for (const end = Date.now() + 1000 * START_SECONDS; ; ) {
    try {
      port.onmessage({ data: new Uint8Array(0) });
      return;
    } catch (error) {
      if (Date.now() > end) throw error;
    }
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

async function serve() {
  await started();
  for await (const request of process.stdin) {
    port.onmessage({ data: new Uint8Array(request) });
  }
}

serve().catch((error) => {
  console.error(String(error.stack || error));
  process.exit(1);
});
