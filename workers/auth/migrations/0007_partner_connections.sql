-- Connections of partners to NATS that were let in, until they end by themselves: which to cut where a partner is revoked.
CREATE TABLE partner_connections (
    -- As the server that was connected to is called, and numbers its connections.
    server_id text NOT NULL,
    connection_id bigint NOT NULL,
    client_id uuid NOT NULL,
    credential_id uuid NOT NULL,
    -- Of the access token that was shown, if one was.
    jti uuid,
    expires_at timestamptz NOT NULL,
    CONSTRAINT partner_connections_pkey PRIMARY KEY (server_id, connection_id)
);
CREATE INDEX partner_connections_client ON partner_connections (client_id);
CREATE INDEX partner_connections_expiry ON partner_connections (expires_at);
