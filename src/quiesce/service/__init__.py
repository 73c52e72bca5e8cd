"""The console and the scheduler: quiesce in a browser, by the same use cases as the command line."""
