// A partner on NATS, by nats.js: signs in, asks and listens as it is told, and prints what came of it, a line each.

import { connect, headers, PermissionViolationError } from "@nats-io/transport-node";

const [url, given] = process.argv.slice(2);
const job = JSON.parse(given);
const say = (what) => console.log(JSON.stringify(what));
const { user, password: pass, token } = job.login;

let connection;
try {
  connection = await connect({
    servers: url,
    user,
    pass,
    token,
    inboxPrefix: job.inbox,
    reconnect: false,
  });
} catch (error) {
  say({ connected: false, why: String(error) });
  process.exit(0);
}
say({ connected: true });

let onRefusal = () => {};
(async () => {
  for await (const status of connection.status()) {
    if (status.error instanceof PermissionViolationError) onRefusal();
  }
})();

for (const ask of job.asks ?? []) {
  const head = headers();
  for (const [name, value] of Object.entries(ask.headers ?? {})) head.set(name, value);
  for (let time = 0; time < (ask.times ?? 1); time++) {
    const refused = new Promise((resolve) => (onRefusal = () => resolve(null)));
    const asked = connection
      .request(ask.subject, JSON.stringify(ask.body), { headers: head, timeout: 10_000 })
      .catch((error) => {
        if (error instanceof PermissionViolationError || error.cause instanceof PermissionViolationError) return null;
        throw error;
      });
    const reply = await Promise.race([asked, refused]);
    if (reply === null) {
      say({ subject: ask.subject, refused: true });
      continue;
    }
    const code = reply.headers?.get("Nats-Service-Error-Code");
    say({ subject: ask.subject, status: code ? Number(code) : 200, reply: reply.json() });
  }
}
for (const subject of job.hears ?? []) {
  const refused = await new Promise((resolve) => {
    onRefusal = () => resolve(true);
    connection.subscribe(subject, { callback: (error) => error && resolve(true) });
    connection.flush().then(() => connection.flush()).then(() => resolve(false));
  });
  say({ subject, refused });
}
if (job.stays) {
  say({ stays: true });
  await connection.closed();
  say({ closed: true });
} else {
  await connection.close();
}
process.exit(0);
