# genraven on a CPU, or on GPUs where the host's container runtime hands them in (docker run --gpus all).
#   docker build -t genraven .
#   docker run --rm -v "$PWD/demo:/work/demo" genraven                     # the demo, about eight minutes
#   docker run --rm -v "$PWD:/work" genraven genraven fit -c model/gpt2_tiny.yaml -c data/demo.yaml -c trainer/cpu.yaml
FROM python:3.11-slim

# Where torch comes from: the CPU's build is 200 MB, that of PyPI has CUDA in 3 GB.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu

WORKDIR /opt/genraven
COPY constraints.txt ./
RUN pip install --no-cache-dir --constraint constraints.txt --index-url "$TORCH_INDEX" \
    --extra-index-url https://pypi.org/simple torch
COPY pyproject.toml README.md LICENSE ./
COPY docs/study docs/study
COPY genraven genraven
COPY datamodules datamodules
COPY lightning_modules lightning_modules
COPY callbacks callbacks
COPY launch launch
RUN pip install --no-cache-dir --constraint constraints.txt .

ENV GENRAVEN_CACHE=/work/.cache/genraven
WORKDIR /work
CMD ["python", "-m", "launch.demo"]
