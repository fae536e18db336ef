# The program on a CPU, without a window system. docs/install.md says how to run it.
FROM python:3.12-slim

# PyTorch's own index has wheels for CPUs; those of PyPI bring 4.9 GB for NVIDIA GPUs. For a GPU:
# docker build --build-arg TORCH_INDEX=https://pypi.org/simple .
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
ENV PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore PIP_DISABLE_PIP_VERSION_CHECK=1
RUN pip install torch torchvision --index-url "$TORCH_INDEX"

# Both wheels of OpenCV hold the same module, so one goes before the other comes.
COPY pyproject.toml README.md LICENSE /source/
COPY config /source/config
COPY yolo /source/yolo
RUN pip install '/source[onnx]' \
    && pip uninstall --yes opencv-python \
    && pip install opencv-python-headless \
    && rm -r /source

# Any user may be chosen with --user: caches and settings are in a home that all may write.
RUN useradd --uid 1000 --home-dir /home/yolo yolo && mkdir --mode 1777 /home/yolo && mkdir --mode 1777 /work
# Official builds of ONNX Runtime report their use to Microsoft unless told not to.
ENV HOME=/home/yolo ORT_DISABLE_TELEMETRY=1
USER yolo
WORKDIR /work

ENTRYPOINT ["python", "-m", "yolo"]
CMD ["--help"]
