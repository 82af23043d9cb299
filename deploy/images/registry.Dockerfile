# The registry: base models, adapters, versions, aliases. No torch.
# Build from the repository's root: docker build -f deploy/images/registry.Dockerfile -t tenon-registry .
FROM python:3.11-slim AS build
WORKDIR /source
# Options for pip, such as where to find a torch build that fits the host: --build-arg PIP_OPTIONS="--find-links …"
ARG PIP_OPTIONS=""
COPY constraints.txt pyproject.toml README.md LICENSE ./
COPY services ./services
COPY gateway ./gateway
COPY cli ./cli
COPY protos ./protos
RUN python -m venv /opt/tenon \
 && /opt/tenon/bin/pip install --no-cache-dir ${PIP_OPTIONS} -c constraints.txt ./protos '.[registry]'

FROM python:3.11-slim
COPY --from=build /opt/tenon /opt/tenon
ENV PATH=/opt/tenon/bin:$PATH PYTHONUNBUFFERED=1 TENON_LISTEN=0.0.0.0:8601 TENON_LOG_FORMAT=json
# A number, so that Kubernetes' runAsNonRoot can check it; TMPDIR holds uploads while they are checked, so it is a volume.
RUN mkdir -p /var/lib/tenon/cache /var/lib/tenon/tmp && chown -R 10001:10001 /var/lib/tenon
ENV TENON_CACHE_DIR=/var/lib/tenon/cache TMPDIR=/var/lib/tenon/tmp
VOLUME /var/lib/tenon
USER 10001:10001
EXPOSE 8601
CMD ["python", "-m", "services.registry"]
