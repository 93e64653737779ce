# One image, one binary; compose.yaml gives each container its role.
FROM rust:1.95-slim-bookworm AS build
WORKDIR /src
COPY . .
RUN cargo build --release --locked -p shopzen --bin shopzen \
 && cp target/release/shopzen /usr/local/bin/shopzen

FROM debian:bookworm-slim
# Roots of trust for payment gateways and mail servers.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /usr/local/bin/shopzen /usr/local/bin/shopzen
RUN useradd --system --uid 10001 --home-dir /var/lib/shopzen --create-home shopzen
USER shopzen
WORKDIR /var/lib/shopzen
EXPOSE 8080
STOPSIGNAL SIGTERM
ENTRYPOINT ["shopzen"]
CMD ["run", "all"]
