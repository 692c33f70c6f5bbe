"""The commands of `genir`, a module a group; `experiments.cli` puts them together."""
