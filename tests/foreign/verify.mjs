// Verifies an access token with jose, by the shop's public keys, and prints its claims.

import { createRemoteJWKSet, jwtVerify } from "jose";

const [issuer, token] = process.argv.slice(2);
const { payload } = await jwtVerify(token, createRemoteJWKSet(new URL(`${issuer}/.well-known/jwks.json`)), {
  algorithms: ["ES256"],
  audience: "shopzen",
  issuer,
  typ: "at+jwt",
  requiredClaims: ["aud", "exp", "iat", "iss", "jti", "nbf", "sub"],
});
console.log(JSON.stringify(payload));
