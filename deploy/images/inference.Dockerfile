# Inference: bases and adapters in memory, answering requests.
# Build from the repository's root: docker build -f deploy/images/inference.Dockerfile -t tenon-inference .
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
 && /opt/tenon/bin/pip install --no-cache-dir ${PIP_OPTIONS} -c constraints.txt ./protos '.[inference]'

FROM python:3.11-slim
# Kernels are compiled for the processor that they run on, when they first do.
RUN apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev && rm -rf /var/lib/apt/lists/*
COPY --from=build /opt/tenon /opt/tenon
ENV PATH=/opt/tenon/bin:$PATH PYTHONUNBUFFERED=1 TENON_LISTEN=0.0.0.0:8603 TENON_LOG_FORMAT=json
# Threads that wait for one another spin for a moment, and weights lie in large pages: steps take about half as long.
ENV GOMP_SPINCOUNT=100000 GLIBC_TUNABLES=glibc.malloc.hugetlb=1
# A number, so that Kubernetes' runAsNonRoot can check it; TMPDIR holds uploads while they are checked, so it is a volume.
RUN mkdir -p /var/lib/tenon/cache /var/lib/tenon/tmp && chown -R 10001:10001 /var/lib/tenon
ENV TENON_CACHE_DIR=/var/lib/tenon/cache TMPDIR=/var/lib/tenon/tmp
VOLUME /var/lib/tenon
USER 10001:10001
EXPOSE 8603
CMD ["python", "-m", "services.inference"]
