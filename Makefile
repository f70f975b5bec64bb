# SPDX-License-Identifier: Apache-2.0
# Two doors; the build itself is CMake's (CMakePresets.json).
#   make demo    install what is missing, build, upscale a photograph, say where the result is
#   make check   the same set-up, then every test
.PHONY: demo check
.NOTPARALLEL:

demo:
	@sh cmake/setup.sh demo
	@sh cmake/demo.sh

check:
	@sh cmake/setup.sh check
	@sh cmake/check.sh
