# mpa-orch, for runs against services elsewhere:
#
#     docker build -f deploy/containers/orchestrator.Dockerfile -t mpa-orch .
#
# User and group are those of BentoML's images. Writes to $HOME and --run alone.
FROM python:3.11-slim AS wheel
WORKDIR /source
COPY pyproject.toml README.md LICENSE ./
COPY services services
COPY protos protos
COPY zoo zoo
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheel .

FROM python:3.11-slim
COPY constraints.txt /
COPY --from=wheel /wheel /wheel
RUN pip install --no-cache-dir -c /constraints.txt "$(ls /wheel/*.whl)[s3,tracing]" \
    && groupadd --gid 1034 mpa \
    && useradd --uid 1034 --gid 1034 --create-home mpa
USER 1034:1034
WORKDIR /home/mpa
ENTRYPOINT ["mpa-orch"]
