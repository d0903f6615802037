# One image for the job and the service: the policy is served by the versions that trained it.
# Anyscale builds this file from its text alone, without a build context, so nothing local can
# be copied in; `working_dir` brings the code.
#
# CUDA: torch's default wheel is built for CUDA 13.0 and brings its own CUDA libraries; the
# image's 12.8 toolkit is not used by it. It needs host driver 580 or newer and a GPU of compute
# capability 7.5 (the T4's) or more. If torch reports that the driver is too old, build on
# anyscale/ray:2.59.0-py311-cu130: no slim image has CUDA 13.
FROM anyscale/ray:2.59.0-slim-py311-cu128

# No node has a display; logs appear as they are written.
ENV PYTHONUNBUFFERED=1 \
    SDL_VIDEODRIVER=dummy \
    SDL_AUDIODRIVER=dummy \
    PYGAME_HIDE_SUPPORT_PROMPT=1 \
    MPLBACKEND=Agg

# A Serve proxy that has died is missed after three of these checks, not after half a minute.
ENV RAY_SERVE_PROXY_HEALTH_CHECK_PERIOD_S=1

# The pins of requirements.txt, except ray: the image's own build stays.
RUN python -m pip install --no-cache-dir \
    torch==2.13.0 \
    gymnasium==1.2.2 \
    box2d==2.3.10 \
    pygame==2.6.1 \
    opencv-python-headless==4.11.0.86 \
    numba==0.68.1 \
    llvmlite==0.50.0 \
    fastapi==0.165.0 \
    fastapi-offline==1.7.7 \
    pydantic-settings==2.16.3 \
    httpx==0.28.1 \
    websockets==17.4 \
    pillow==13.0.0 \
    matplotlib==3.11.2 \
    safetensors==0.8.0 \
    tyro==1.0.17 \
    tqdm==4.70.1

# httptools drops the body of a request that offers h2c (Kludex/uvicorn#2722). Without it uvicorn
# parses requests with h11.
# hadolint ignore=DL3059
RUN python -m pip uninstall --yes httptools

# A missing or broken package fails the build, not a node that is already being paid for. A step of
# its own, so that another check does not install everything anew.
# hadolint ignore=DL3059
RUN python -c "\
import cv2, gymnasium, pandas, pyarrow.fs, ray, ray.serve, ray.tune; \
import fastapi, fastapi_offline, httpx, matplotlib, numba, pydantic_settings; \
import safetensors.torch, tqdm, tyro; \
import websockets.sync.client; \
from opentelemetry.exporter.prometheus import PrometheusMetricReader; \
from ray.rllib.algorithms.ppo import PPOConfig; \
assert ray.__version__.startswith('2.59.0'), ray.__version__; \
from uvicorn.protocols.http.auto import AutoHTTPProtocol; \
assert 'h11' in AutoHTTPProtocol.__module__, AutoHTTPProtocol; \
gymnasium.make('CarRacing-v3', render_mode='rgb_array').reset(seed=0)"
