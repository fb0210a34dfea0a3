# make demo    sets up .venv, then reconstructs the bundled sample study into demo-result
# make demo-picture    the demo's report and its Gaussians, as the docs show them
# make screenshots    the README's pictures of the panel and of Slicer's views, along its tutorial
# make test    sets up .venv, then runs the whole test suite (one test: make test TESTS=Testing/cli/test_cli.py)
# make lint    ruff, mypy, and the order of the packages
# make packaged-files     writes into the CMake files what the extension is made of (after files came or went)
# make host-fidelity SLICER_SOURCE=…   Slicer's own unit tests in the test host; SLICER_SOURCE: a folder of its sources
# make test-slicer-next   the tests on Slicer's side with its next version, in an environment of their own
# make bench-NAME [ROW=…] [QUICK=1]    one benchmark of Testing/Benchmarks
# make peers   .venv-peers, with what bench-operators compares with
#
# PYTHON=… names the Python (3.11, 3.12 or 3.13) that .venv is made with.

TESTS ?= Testing

# Slicer's side of the project, and the next version of Slicer that it is tried with.
SLICER_TESTS = Testing/Host Testing/VesselFlowGSScene Testing/VesselFlowGSPanel Testing/VesselFlowGS Testing/packaging
SLICER_NEXT = 5.13.31053.0

.PHONY: environment demo demo-picture screenshots test lint icon packaged-files host-fidelity peers bench-slicer bench-operators \
	test-slicer-next

environment:
	@Resources/Setup/setup-environment

demo: environment
	.venv/bin/python -m VesselFlowGSLib reconstruct Resources/sample_study -o demo-result

demo-picture: demo
	cp demo-result/report.png Resources/screenshots/demo.png
	.venv/bin/python -m VesselFlowGSLib render demo-result -o Resources/screenshots/gaussians.png --as gaussians

screenshots: environment
	.venv/bin/python Resources/Setup/draw_screenshots.py

test: environment
	.venv/bin/python -m pytest $(TESTS)

lint: environment
	.venv/bin/ruff check .
	.venv/bin/mypy
	.venv/bin/lint-imports

packaged-files:
	@.venv/bin/python Resources/Setup/list_packaged_files.py

host-fidelity: environment
	.venv/bin/python Testing/Host/fidelity.py $(SLICER_SOURCE)

test-slicer-next:
	@VENV=.venv-slicer-next SLICER_CORE=$(SLICER_NEXT) Resources/Setup/setup-environment
	.venv-slicer-next/bin/python -m pytest $(wildcard $(SLICER_TESTS))

# a file slicer.py would hide Slicer's package from the tests beside it
bench-slicer: environment
	.venv/bin/python Testing/Benchmarks/slicer_module.py

peers: environment
	@.venv/bin/python Testing/Benchmarks/make_peers.py

bench-operators: peers
	OMP_NUM_THREADS=1 .venv-peers/bin/python Testing/Benchmarks/operators.py

bench-%: environment
	.venv/bin/python Testing/Benchmarks/$*.py

icon: environment
	.venv/bin/python Resources/Setup/draw_icon.py VesselFlowGS.png
	cp VesselFlowGS.png VesselFlowGS/Resources/Icons/VesselFlowGS.png
