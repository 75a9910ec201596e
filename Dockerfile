# One image for all services. The base is an argument: a CUDA runtime by default; for CPU any Debian or Ubuntu image
# will do (`make compose-check` builds on one that debootstrap has made). Python 3.11 or newer is installed where the
# base has none. docs/containers.md lists the arguments.
ARG BASE_IMAGE=nvidia/cuda:13.0.1-runtime-ubuntu24.04

FROM ${BASE_IMAGE} AS base
# Debian packages to add, such as "gcc python3-dev" for torch_compile and Unsloth, which compile at run time.
ARG EXTRA_DEBIAN_PACKAGES=""
RUN if [ -n "$EXTRA_DEBIAN_PACKAGES" ] \
        || ! python3 -c 'import ensurepip, sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
        apt-get update \
        && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
            python3 python3-venv ca-certificates $EXTRA_DEBIAN_PACKAGES \
        && rm -rf /var/lib/apt/lists/*; \
    fi
# HOME is a tmpfs at run time, because the image's own files are read-only. The user need not exist in /etc/passwd;
# what asks for a name (torch's compile cache does) takes USER.
ENV PATH=/opt/sidestep/bin:$PATH \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1 \
    PYTHONUNBUFFERED=1 \
    HOME=/tmp \
    USER=sidestep \
    HF_HUB_OFFLINE=1


# What changes seldom: everything Sidestep depends on, in a layer of its own.
FROM base AS dependencies
# Python packages to add, such as "unsloth"; further options for pip.
ARG EXTRA_PYTHON_PACKAGES=""
ARG PIP_OPTIONS=""
RUN python3 -m venv /opt/sidestep
WORKDIR /src
COPY pyproject.toml constraints.txt ./
# A pip.conf may be given as a build secret: it is used here and stays out of the image.
RUN --mount=type=secret,id=pip.conf,target=/etc/pip.conf \
    python -c "import tomllib; project = tomllib.load(open('pyproject.toml', 'rb'))['project']; \
extras = project['optional-dependencies']; \
print(*sorted({*project['dependencies'], *extras['trainer'], *extras['evaluator']}), sep='\n')" > requirements.txt \
    && pip install $PIP_OPTIONS -c constraints.txt -r requirements.txt 'setuptools>=77' $EXTRA_PYTHON_PACKAGES


# What changes often: Sidestep itself, as a wheel of a few hundred kilobytes.
FROM dependencies AS wheel
COPY README.md LICENSE expert_trainer.py ./
COPY sidestep ./sidestep
COPY shared ./shared
COPY trainer ./trainer
COPY evaluator ./evaluator
RUN pip wheel --no-deps --no-build-isolation --wheel-dir /wheels .


FROM base
COPY --from=dependencies /opt/sidestep /opt/sidestep
COPY --from=wheel /wheels /opt/sidestep/wheels
RUN pip install --no-deps --no-index /opt/sidestep/wheels/*.whl
WORKDIR /expert
USER 1000:1000
