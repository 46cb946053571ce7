// Runs saved programs, changed copies of them, and made-up ones, and counts what came of it.
//
// microscopiq_fuzz [--legal] [--mutations N] [--made N] [--seed S] [--reasons] FILE...
#include <sanitizer/common_interface_defs.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <fstream>
#include <iterator>
#include <vector>

#include "generate.h"
#include "mutate.h"
#include "parts.h"
#include "target.h"

namespace {

constexpr unsigned kMostSeconds = 30;  // of one program; beyond it hangs

std::string current;

void SaveCurrent() {
  std::ofstream("crash.bin", std::ios::binary) << current;
  std::fprintf(stderr, "the program is in crash.bin\n");
}

void EndHang(int) {
  SaveCurrent();
  std::fprintf(stderr, "it hangs: no end after %u s\n", kMostSeconds);
  std::_Exit(1);
}

microscopiq::Verdict Try(std::string program, microscopiq::Tally* tally,
                         microscopiq::Modes modes = microscopiq::Modes::kOne) {
  // A buffer of exactly its length.
  current = std::move(program);
  std::vector<uint8_t> bytes(current.begin(), current.end());
  bytes.shrink_to_fit();
  alarm(kMostSeconds);
  try {
    const microscopiq::Verdict verdict =
        microscopiq::TryProgram(bytes.data(), bytes.size(), tally, modes);
    alarm(0);
    return verdict;
  } catch (const std::exception& error) {
    SaveCurrent();
    std::fprintf(stderr, "it throws: %s\n", error.what());
    std::exit(1);
  }
}

struct Options {
  bool legal = false;
  bool reasons = false;
  long mutations = 0;
  long made = 0;
  unsigned long seed = 1;
  std::vector<std::string> files;
};

Options Parse(int count, char** words) {
  Options options;
  for (int i = 1; i < count; ++i) {
    const std::string word = words[i];
    if (word == "--legal") {
      options.legal = true;
    } else if (word == "--reasons") {
      options.reasons = true;
    } else if (word == "--mutations" && i + 1 < count) {
      options.mutations = std::atol(words[++i]);
    } else if (word == "--made" && i + 1 < count) {
      options.made = std::atol(words[++i]);
    } else if (word == "--seed" && i + 1 < count) {
      options.seed = std::strtoul(words[++i], nullptr, 10);
    } else {
      options.files.push_back(word);
    }
  }
  return options;
}

std::string ReadFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) {
    std::fprintf(stderr, "%s: can't be read\n", path.c_str());
    std::exit(2);
  }
  return {std::istreambuf_iterator<char>(file), {}};
}

// Whether the mutator can take a program apart and put it together again.
bool IsUnderstood(const std::string& program) {
  microscopiq::ProgramParts parts;
  return microscopiq::Split(program, &parts) && microscopiq::Seal(Join(parts)) == program;
}

// Runs made-up programs in every mode. Most of them have to get to their end: others test little.
int RunMade(const Options& options) {
  microscopiq::Tally tally;
  for (long i = 0; i < options.made; ++i) {
    // By number: one of them can be made again alone.
    microscopiq::Random random(options.seed + static_cast<unsigned long>(i));
    Try(microscopiq::MakeProgram(&random), &tally, microscopiq::Modes::kAll);
  }
  std::printf("made up:  %s\n", tally.Text().c_str());
  if (options.reasons) std::printf("%s", tally.Reasons().c_str());
  const int64_t ran = tally.by_verdict[static_cast<int>(microscopiq::Verdict::kRan)];
  if (2 * ran >= tally.programs && tally.compared >= tally.programs) return 0;
  std::fprintf(stderr, "fewer than half of the made-up programs run to their end:\n%s",
               tally.Reasons().c_str());
  return 1;
}

}  // namespace

int main(int count, char** words) {
  const Options options = Parse(count, words);
  __sanitizer_set_death_callback(SaveCurrent);
  std::signal(SIGALRM, EndHang);
  std::vector<std::string> programs;
  microscopiq::Tally given, changed;
  for (const std::string& path : options.files) {
    programs.push_back(ReadFile(path));
    const bool ran = Try(programs.back(), &given) == microscopiq::Verdict::kRan;
    if (options.legal && !(ran && IsUnderstood(programs.back()))) {
      std::fprintf(stderr, "%s: %s\n%s", path.c_str(),
                   ran ? "the mutator can't take it apart: parts.cc lags behind the file's form"
                       : "doesn't run to its end",
                   given.Reasons().c_str());
      return 1;
    }
  }
  std::printf("as given: %s\n", given.Text().c_str());
  if (options.made > 0) return RunMade(options);
  if (programs.empty() || options.mutations == 0) return 0;
  microscopiq::Random random(options.seed);
  const size_t seeds = programs.size();
  for (long i = 0; i < options.mutations; ++i) {
    const std::string& base = programs[random() % programs.size()];
    std::string program =
        random() % 8 ? microscopiq::Mutate(base, &random) : microscopiq::MakeUp(base, &random);
    const bool ran = Try(program, &changed) == microscopiq::Verdict::kRan;
    // What still runs is changed again: faults that need several steps are found so.
    if (ran && programs.size() < 50 * seeds) programs.push_back(std::move(program));
  }
  std::printf("changed:  %s\n", changed.Text().c_str());
  if (options.reasons) std::printf("%s", changed.Reasons().c_str());
  return 0;
}
