"""The sweepers of tunix_exp where Hydra looks for plugins: doors alone, so that its scan imports nothing."""

from typing import Any

from hydra.plugins.sweeper import Sweeper


class Study(Sweeper):
    """Values that Optuna chooses from what earlier jobs gave (`tunix_exp.cli.study`)."""

    def __init__(self, **settings: Any) -> None:
        """Keep the settings for `setup`."""
        self.settings = settings

    def setup(self, *, hydra_context: Any, task_function: Any, config: Any) -> None:
        """The sweeper itself is there."""
        from tunix_exp.cli.study import Study as Own

        self.own = Own(hydra_context, task_function, config, self.settings)

    def sweep(self, arguments: list[str]) -> Any:
        """Run what is due of the study of these words."""
        return self.own.sweep(arguments)


class Grid(Sweeper):
    """Every combination of the values that were typed (`tunix_exp.cli.sweeper`)."""

    def __init__(self, **settings: Any) -> None:
        """Keep the settings for `setup`."""
        self.settings = settings

    def setup(self, *, hydra_context: Any, task_function: Any, config: Any) -> None:
        """The sweeper itself is there."""
        from tunix_exp.cli.sweeper import Grid as Own

        self.own = Own(hydra_context, task_function, config, self.settings)

    def sweep(self, arguments: list[str]) -> Any:
        """Run what is due of the jobs of these words."""
        return self.own.sweep(arguments)
