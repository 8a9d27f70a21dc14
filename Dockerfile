# Builds the gateway and puts it, alone, into a small image.
#
#   docker build -t tokengate .
#   docker run -p 8080:8080 -v tokengate-data:/var/lib/tokengate \
#     -v ./tokengate.toml:/etc/tokengate/tokengate.toml:ro tokengate
#
# Both bases can be replaced; the second needs glibc no older than the first's, and nothing else.
ARG BUILD_BASE=docker.io/library/rust:1.95-slim-bookworm
ARG RUN_BASE=gcr.io/distroless/cc-debian12

FROM ${BUILD_BASE} AS build
WORKDIR /src
COPY . .
RUN cargo build --release --locked --bin tokengate \
 && mkdir -p /out/etc/tokengate /out/var/lib/tokengate /out/usr/local/bin \
 && cp target/release/tokengate /out/usr/local/bin/ \
 && strip --strip-debug /out/usr/local/bin/tokengate \
 && touch /out/etc/tokengate/tokengate.toml

FROM ${RUN_BASE}
COPY --from=build /out/usr/local/bin/tokengate /usr/local/bin/tokengate
# Empty: mount your own over it.
COPY --from=build /out/etc/tokengate /etc/tokengate
# Sessions and keys of the embedded store. A number instead of a name: the base need not know the user.
COPY --from=build --chown=65532:65532 /out/var/lib/tokengate /var/lib/tokengate
USER 65532:65532
WORKDIR /var/lib/tokengate
VOLUME /var/lib/tokengate

# Within a container, loopback would be reachable for nobody. Stands over the mounted file.
ENV TOKENGATE__LISTEN__ADDRESS=0.0.0.0:8080
# For every subcommand, so that the health check finds the listener that the gateway opened.
ENV TOKENGATE_CONFIG=/etc/tokengate/tokengate.toml
EXPOSE 8080

STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s --retries=3 CMD ["/usr/local/bin/tokengate", "healthcheck"]
ENTRYPOINT ["/usr/local/bin/tokengate"]
CMD ["run"]
