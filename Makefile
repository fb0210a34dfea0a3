# make demo    sets up .venv, then reconstructs the bundled sample study into demo-result
# make screenshot    the demo's picture, for the README
# make test    sets up .venv, then runs the whole test suite (one test: make test TESTS=Testing/cli/test_cli.py)
# make lint    ruff, mypy, and the order of the packages
# make bench-NAME [ROW=…] [QUICK=1]    one benchmark of Testing/Benchmarks
#
# PYTHON=… names the Python (3.11, 3.12 or 3.13) that .venv is made with.

TESTS ?= Testing

.PHONY: environment demo screenshot test lint icon

environment:
	@Resources/Setup/setup-environment

demo: environment
	.venv/bin/python -m VesselFlowGSLib reconstruct Resources/sample_study -o demo-result

screenshot: demo
	cp demo-result/report.png Resources/screenshots/demo.png

test: environment
	.venv/bin/python -m pytest $(TESTS)

lint: environment
	.venv/bin/ruff check .
	.venv/bin/mypy
	.venv/bin/lint-imports

bench-%: environment
	.venv/bin/python Testing/Benchmarks/$*.py

icon: environment
	.venv/bin/python Resources/Setup/draw_icon.py VesselFlowGS.png
