"""Those who are measured, a program each: they load once, and run the workloads that they are told of."""
