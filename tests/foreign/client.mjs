// Gets a token with openid-client, told only where the shop is, asks what it is and gives it back.

import * as openid from "openid-client";
import { importJWK } from "jose";

const [issuer, clientId, method, credential] = process.argv.slice(2);
const shows = {
  client_secret_basic: () => openid.ClientSecretBasic(credential),
  client_secret_post: () => openid.ClientSecretPost(credential),
  private_key_jwt: async () =>
    openid.PrivateKeyJwt(await importJWK(JSON.parse(credential), "ES256")),
};
const config = await openid.discovery(
  new URL(issuer),
  clientId,
  undefined,
  await shows[method](),
  { execute: [openid.allowInsecureRequests] },
);
if (!config.serverMetadata().token_endpoint_auth_methods_supported.includes(method)) throw method;
const token = await openid.clientCredentialsGrant(config, { scope: "stock:write" });
const said = await openid.tokenIntrospection(config, token.access_token);
if (!said.active || said.sub !== clientId) throw said;
await openid.tokenRevocation(config, token.access_token);
const then = await openid.tokenIntrospection(config, token.access_token);
if (then.active) throw then;
let error = null;
try {
  await openid.clientCredentialsGrant(config, { scope: "ops:write" });
} catch (refusal) {
  error = refusal.error;
}
console.log(JSON.stringify({ scope: token.scope, error }));
