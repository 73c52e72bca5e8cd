// Appends "<number> <unix time> <crc32 of these two>" to a log and syncs it, for ever, so that a copy of the
// log can be proved unbroken. Tells the console every tenth line, and every one that took long:
//   W <number> <milliseconds>
// usage: writer LOG PAUSE_MS CONSOLE; continues after the log's last line.
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static uint32_t crc32(const char *text, size_t length) {
  uint32_t crc = ~0u;
  while (length--) {
    crc ^= (unsigned char)*text++;
    for (int bit = 0; bit < 8; bit++) crc = crc & 1 ? crc >> 1 ^ 0xEDB88320u : crc >> 1;
  }
  return ~crc;
}

static double now(int clock) {
  struct timespec time;
  clock_gettime(clock, &time);
  return time.tv_sec + time.tv_nsec / 1e9;
}

static unsigned long last_number(const char *path) {
  unsigned long number, last = 0;
  char line[128];
  FILE *log = fopen(path, "r");
  if (!log) return 0;
  while (fgets(line, sizeof line, log))
    if (sscanf(line, "%lu", &number) == 1) last = number;
  fclose(log);
  return last;
}

int main(int argc, char **argv) {
  if (argc < 4) return 2;
  unsigned long number = last_number(argv[1]);
  int pause_ms = atoi(argv[2]);
  FILE *console = fopen(argv[3], "w");
  int log = open(argv[1], O_WRONLY | O_CREAT | O_APPEND, 0644);
  if (!console || log < 0) {
    perror(argv[1]);
    return 1;
  }
  setlinebuf(console);
  fprintf(console, "WRITER start after %lu\n", number);
  for (;;) {
    char line[128];
    double began = now(CLOCK_MONOTONIC);
    int length = snprintf(line, sizeof line, "%08lu %.3f", ++number, now(CLOCK_REALTIME));
    length += snprintf(line + length, sizeof line - length, " %08x\n", crc32(line, length));
    if (write(log, line, length) != length || fsync(log)) {
      fprintf(console, "WRITER ERROR\n");
      sleep(1);
      number--;
      continue;
    }
    double took_ms = (now(CLOCK_MONOTONIC) - began) * 1e3;
    if (number % 10 == 0 || took_ms > 25) fprintf(console, "W %lu %.0f\n", number, took_ms);
    usleep(pause_ms * 1000);
  }
}
