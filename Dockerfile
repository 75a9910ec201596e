# One image for both services. The base is an argument: a CUDA runtime by default, any Debian or Ubuntu with
# Python 3.11 or newer for CPU (`make compose-check` uses such a one).
ARG BASE_IMAGE=nvidia/cuda:13.0.1-runtime-ubuntu24.04
FROM ${BASE_IMAGE}

RUN command -v python3 >/dev/null && python3 -c "import ensurepip" 2>/dev/null \
    || (apt-get update && apt-get install -y --no-install-recommends python3 python3-venv ca-certificates \
        && rm -rf /var/lib/apt/lists/*)

RUN python3 -m venv /opt/sidestep
ENV PATH=/opt/sidestep/bin:$PATH \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1 \
    PYTHONUNBUFFERED=1 \
    HOME=/tmp \
    HF_HUB_OFFLINE=1

# Dependencies first: they change less often than the code.
WORKDIR /opt/sidestep/src
COPY pyproject.toml constraints.txt README.md LICENSE ./
RUN python -c "import tomllib; print('\n'.join(tomllib.load(open('pyproject.toml', 'rb'))['project']['dependencies']))" \
        > /tmp/requirements.txt \
    && pip install -c constraints.txt -r /tmp/requirements.txt setuptools \
    && rm /tmp/requirements.txt

COPY shared ./shared
COPY trainer ./trainer
COPY evaluator ./evaluator
COPY expert_trainer.py ./
RUN pip install --no-deps --no-build-isolation .

WORKDIR /expert
USER 1000:1000
