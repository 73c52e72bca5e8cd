"""What is delivered: a wheel and a Debian package, installed as people do."""
