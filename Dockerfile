# Two images out of one build, both with nothing in them that they do not run:
#   docker build --target gateway -t lazaret .
#   docker build --target init -t lazaret-init .
# The same commit gives the same binaries: versions are pinned, paths of the build machine are left
# out, and with `--build-arg SOURCE_DATE_EPOCH=$(git log -1 --format=%ct)
# --output type=image,rewrite-timestamp=true` the layers get the time of the commit.

ARG RUST_VERSION=1.95.0
ARG ALPINE_VERSION=3.23

FROM rust:${RUST_VERSION}-alpine${ALPINE_VERSION} AS build
ARG SOURCE_DATE_EPOCH=0
WORKDIR /src
# What may be here is listed in .dockerignore.
COPY . .
# musl, so that the binaries are static. With `--target`, RUSTFLAGS do not reach build scripts and
# procedural macros, which must stay dynamic.
ENV CARGO_INCREMENTAL=0 \
    RUSTFLAGS="-C target-feature=+crt-static --remap-path-prefix=/src=. --remap-path-prefix=/usr/local/cargo=cargo --remap-path-prefix=/usr/local/rustup=rustup"
RUN target="$(uname -m)-unknown-linux-musl" \
 && cargo build --locked --release --target "$target" --package lazaret --package lazaret-init --bins \
 && mkdir /out \
 && cp "target/$target/release/lazaret" "target/$target/release/lazaret-init" /out/

# The gateway: unprivileged, long-running. No shell, no library, no package manager.
FROM scratch AS gateway
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="lazaret" \
      org.opencontainers.image.description="Transparent sidecar gateway that lets only what the producer's policy allows leave a pod" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY LICENSE /LICENSE
COPY --from=build /out/lazaret /lazaret
# As numbers, because `runAsNonRoot` can prove nothing about a name. The capture rules exempt just
# this uid and gid, so no other container of the pod may have them.
USER 1337:1337
# No HEALTHCHECK: Kubernetes ignores it and probes the admin port instead.
ENTRYPOINT ["/lazaret"]
CMD ["run"]

# The init container: privileged, runs once, installs the capture rules and proves them.
FROM alpine:${ALPINE_VERSION} AS init
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="lazaret-init" \
      org.opencontainers.image.description="Installs and proves the capture rules of Lazaret in a pod's network namespace" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
# Fixed to 1.1, of which Alpine keeps the newest patch only: an exact version would stop building.
RUN apk add --no-cache nftables=~1.1
COPY LICENSE /LICENSE
COPY --from=build /out/lazaret-init /lazaret-init
# Root by need: changing the rules of a network namespace takes CAP_NET_ADMIN there, which
# Kubernetes gives to uid 0 only. The manifest of the pod drops every capability it does not need.
# hadolint ignore=DL3002
USER 0:0
ENTRYPOINT ["/lazaret-init"]
CMD ["apply"]
