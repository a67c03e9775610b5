# MICS in a container; docs/docker.md has the commands. TORCH_LINKS is a page or folder of links to PyTorch's builds for the CPU alone or for
# one CUDA version, which pip prefers; without it pip takes the default build, which on Linux holds CUDA.
FROM python:3.11-slim
ARG TORCH_LINKS=""
COPY pyproject.toml constraints.txt README.md LICENSE /mics/
COPY src /mics/src
RUN pip install --no-cache-dir ${TORCH_LINKS:+--find-links "$TORCH_LINKS"} -c /mics/constraints.txt "/mics[dicom,mesh,x5]" \
    && rm -r /mics
ENV HOME=/tmp
WORKDIR /data
USER 1000:1000
ENTRYPOINT ["mics"]
