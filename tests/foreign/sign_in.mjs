// Lets somebody sign in with openid-client, told only where the shop is; prints where their browser is to go, reads where it
// was sent back to, and prints who they are. What was used once is refused when it is used again.

import { createInterface } from "node:readline/promises";

import * as client from "openid-client";

const [issuer, clientId, secret, redirectUri] = process.argv.slice(2);
const config = await client.discovery(new URL(issuer), clientId, secret, undefined, {
  execute: [client.allowInsecureRequests],
});
const verifier = client.randomPKCECodeVerifier();
const state = client.randomState();
const nonce = client.randomNonce();
const address = client.buildAuthorizationUrl(config, {
  redirect_uri: redirectUri,
  scope: "openid profile email orders:read",
  code_challenge: await client.calculatePKCECodeChallenge(verifier),
  code_challenge_method: "S256",
  state,
  nonce,
});
console.log(address.href);

const lines = createInterface({ input: process.stdin });
const back = new URL((await lines[Symbol.asyncIterator]().next()).value);
lines.close();
const checks = {
  pkceCodeVerifier: verifier,
  expectedState: state,
  expectedNonce: nonce,
  idTokenExpected: true,
};
const first = await client.authorizationCodeGrant(config, back, checks);
const claims = first.claims();
const info = await client.fetchUserInfo(config, first.access_token, claims.sub);

const second = await client.refreshTokenGrant(config, first.refresh_token);
const third = await client.refreshTokenGrant(config, second.refresh_token);
const refused = async (attempt) => {
  try {
    await attempt();
    return null;
  } catch (error) {
    return error.error ?? error.message;
  }
};
const reused = await refused(() => client.refreshTokenGrant(config, first.refresh_token));
const ended = await refused(() => client.refreshTokenGrant(config, third.refresh_token));
const replayed = await refused(() => client.authorizationCodeGrant(config, back, checks));
console.log(
  JSON.stringify({ name: claims.name, email: info.email, scope: third.scope, reused, ended, replayed }),
);
