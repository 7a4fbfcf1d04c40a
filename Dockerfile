# syntax=docker/dockerfile:1
# make image; docker run --rm -p 127.0.0.1:4000:4000 -v newage:/data newage-broker
# Bases have their full names: Podman looks nowhere for short ones, unless it is told where.

FROM docker.io/library/node:20.20-bookworm-slim AS web
WORKDIR /build
COPY web/package.json web/package-lock.json ./
RUN --mount=type=cache,target=/root/.npm npm ci --no-audit --no-fund
COPY web/ ./
RUN npm run build

FROM docker.io/library/node:20.20-bookworm-slim AS extension
WORKDIR /build
COPY extension/package.json extension/package-lock.json ./
RUN --mount=type=cache,target=/root/.npm npm ci --no-audit --no-fund
COPY extension/ ./
RUN npm run build

FROM docker.io/library/rust:1.95-slim-bookworm AS broker
# For the allocator, which is C.
RUN apt-get update \
 && apt-get install -y --no-install-recommends make \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /build
COPY . .
COPY --from=web /build/dist web/dist
COPY --from=extension /build/dist extension/dist
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/build/target \
    cargo build --release --locked --bin newage-broker \
 && install -D target/release/newage-broker /out/newage-broker

FROM docker.io/library/debian:bookworm-slim
LABEL org.opencontainers.image.title="NewAge Broker" \
      org.opencontainers.image.description="A message broker between apps and SillyTavern, over Socket.IO v4" \
      org.opencontainers.image.licenses="MIT OR Apache-2.0"

RUN groupadd --gid 10001 newage \
 && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /data --shell /usr/sbin/nologin newage \
 && install -d -o newage -g newage /data

COPY --from=broker /out/newage-broker /usr/local/bin/newage-broker
# config.toml is the manual of every setting; the broker reads the one in /data, if there is one.
COPY config.toml LICENSE-MIT LICENSE-APACHE /usr/share/newage-broker/
COPY settings/ /usr/share/newage-broker/settings/

ENV NEWAGE_BIND=0.0.0.0 \
    NEWAGE_PORT=4000 \
    NEWAGE_DATA=/data
EXPOSE 4000
VOLUME /data
USER newage
WORKDIR /data

# The image has no curl; bash speaks enough TCP.
HEALTHCHECK --interval=30s --timeout=5s --start-period=5s \
    CMD ["bash", "-c", "exec 3<>\"/dev/tcp/127.0.0.1/$NEWAGE_PORT\" && printf 'GET /health HTTP/1.0\\r\\nHost: localhost\\r\\n\\r\\n' >&3 && grep -q '\"status\":\"ok\"' <&3"]

# A data directory without settings gets the shipped ones. `exec`, so that signals reach the broker.
ENTRYPOINT ["sh", "-c", "test -e \"$NEWAGE_DATA/settings\" || cp -R /usr/share/newage-broker/settings \"$NEWAGE_DATA/\" && exec newage-broker \"$@\"", "newage-broker"]
