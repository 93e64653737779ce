// An OpenID provider: oidc-provider as it is. Whoever comes to sign in is who their browser says in a header, so that a test
// can be several people. Says a line once it listens.

import { createServer } from "node:http";

import Provider from "oidc-provider";

const [issuer, redirectUri] = process.argv.slice(2);
const people = new Map();

const provider = new Provider(issuer, {
  clients: [
    {
      client_id: "shop",
      client_secret: "the-shops-secret-at-this-provider",
      redirect_uris: [redirectUri],
      grant_types: ["authorization_code"],
      response_types: ["code"],
    },
  ],
  claims: { openid: ["sub"], email: ["email", "email_verified"], profile: ["name"] },
  cookies: { keys: ["of a test"] },
  features: { devInteractions: { enabled: false } },
  pkce: { required: () => true },
  interactions: { url: (_, interaction) => `/interaction/${interaction.uid}` },
  findAccount: (_, id) => ({ accountId: id, claims: () => people.get(id) }),
  // Nobody is asked what the shop may know.
  loadExistingGrant: async (ctx) => {
    const grant = new ctx.oidc.provider.Grant({
      clientId: ctx.oidc.client.clientId,
      accountId: ctx.oidc.session.accountId,
    });
    grant.addOIDCScope("openid email profile");
    await grant.save();
    return grant;
  },
});

const answer = provider.callback();
const server = createServer(async (request, response) => {
  if (!request.url.startsWith("/interaction/")) return answer(request, response);
  const person = JSON.parse(request.headers["x-person"] ?? "null");
  if (person === null) {
    const error = { error: "access_denied", error_description: "they said no" };
    return provider.interactionFinished(request, response, error);
  }
  people.set(person.sub, person);
  return provider.interactionFinished(request, response, { login: { accountId: person.sub } });
});
const { hostname, port } = new URL(issuer);
server.listen(Number(port), hostname, () => console.log("listening"));
