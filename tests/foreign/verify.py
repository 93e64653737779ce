"""Verifies an access token with PyJWT, by the shop's public keys, and prints its claims."""

import json
import sys

import jwt

issuer, token = sys.argv[1:]
key = jwt.PyJWKClient(f"{issuer}/.well-known/jwks.json").get_signing_key_from_jwt(token)
claims = jwt.decode(
    token,
    key,
    algorithms=["ES256"],
    audience="shopzen",
    issuer=issuer,
    options={"require": ["aud", "exp", "iat", "iss", "jti", "nbf", "sub"]},
)
print(json.dumps(claims))
