# ire-otel with what `ire-otel serve`, `ire-otel db` and `ire-otel demo` need. Only files whose hash requirements.txt knows get in.
FROM python:3.13.9-slim-trixie AS build
WORKDIR /build
COPY requirements.txt ./
RUN pip download --no-cache-dir --no-deps --only-binary :all: --require-hashes --requirement requirements.txt --dest /wheels
COPY pyproject.toml README.md CHANGELOG.md LICENSE ./
COPY ire_otel ire_otel
COPY exporters exporters
COPY migrations migrations
# From those files alone: pip takes what the extras ask for and leaves the developers' tools out.
# hadolint ignore=DL3013 # versions are those of the files
RUN pip install --no-cache-dir --no-index --find-links /wheels hatchling \
    && pip wheel --no-index --no-deps --no-build-isolation --wheel-dir /wheels . \
    && python -m venv /opt/ire-otel \
    && /opt/ire-otel/bin/pip install --no-cache-dir --no-index --find-links /wheels --only-binary :all: 'ire-otel[otlp,postgres,serve]'

FROM python:3.13.9-slim-trixie
RUN useradd --system --uid 10001 --home-dir /var/lib/ire-otel --create-home ire-otel \
    && install --directory --owner ire-otel --mode 0750 /var/lib/ire-otel/brain
COPY --from=build /opt/ire-otel /opt/ire-otel
ENV PATH=/opt/ire-otel/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    IRE_OTEL_BRAIN_DIR=/var/lib/ire-otel/brain
USER 10001
WORKDIR /var/lib/ire-otel
VOLUME /var/lib/ire-otel/brain
EXPOSE 4317 4318
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 \
    CMD ["python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:4318/healthz', timeout=4)"]
ENTRYPOINT ["ire-otel"]
# Beyond loopback, so it asks for a token: IRE_OTEL_SERVE_TOKEN.
CMD ["serve", "--host", "0.0.0.0"]
