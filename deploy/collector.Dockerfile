# The contrib Collector's own image holds nothing but the binary: no folder that its user may write to, and nothing that
# could ask whether it is well.
FROM otel/opentelemetry-collector-contrib:0.155.0 AS collector

FROM busybox:1.37.0
COPY --from=collector /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=collector /otelcol-contrib /otelcol-contrib
RUN mkdir -p /var/lib/otelcol && chown 10001:10001 /var/lib/otelcol
USER 10001
VOLUME /var/lib/otelcol
EXPOSE 4317 4318 8888 13133
HEALTHCHECK --interval=10s --timeout=5s --start-period=10s --retries=3 \
    CMD ["wget", "-q", "-O", "/dev/null", "http://127.0.0.1:13133/"]
ENTRYPOINT ["/otelcol-contrib"]
CMD ["--config", "/etc/otelcol/config.yaml"]
