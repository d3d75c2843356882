"""`python -m gpsr_deploy` is `gpsr-trt`."""

import sys

from gpsr_deploy.cli import main

sys.exit(main())
