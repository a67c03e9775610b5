# MICS in a container; docs/docker.md has the commands. TORCH_INDEX is the address of PyTorch's index of builds for the CPU alone or for one
# CUDA version, as PyTorch's page "Get started" gives it; without it pip takes the default build, which on Linux holds CUDA.
FROM python:3.11-slim
ARG TORCH_INDEX=""
COPY pyproject.toml constraints.txt README.md LICENSE /mics/
COPY src /mics/src
RUN if [ -n "$TORCH_INDEX" ]; then \
        pip install --no-cache-dir --index-url "$TORCH_INDEX" "$(grep '^torch==' /mics/constraints.txt)"; \
    fi \
    && pip install --no-cache-dir -c /mics/constraints.txt "/mics[dicom,mesh,x5]" \
    && rm -r /mics
ENV HOME=/tmp
WORKDIR /data
USER 1000:1000
ENTRYPOINT ["mics"]
