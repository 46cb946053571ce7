// The entry points that libFuzzer calls; clang only.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "mutate.h"
#include "target.h"

namespace {

constexpr size_t kMostKept = 4096;

microscopiq::Tally tally;
// Programs that loaded. libFuzzer's own corpus fills with others, whose changes don't load either.
std::vector<std::string> loaded;

void PrintTally() { std::printf("%s\n", tally.Text().c_str()); }

void Keep(std::string program, microscopiq::Random* random) {
  if (loaded.size() < kMostKept) {
    loaded.push_back(std::move(program));
  } else {
    loaded[(*random)() % kMostKept] = std::move(program);
  }
}

}  // namespace

extern "C" int LLVMFuzzerInitialize(int*, char***) { return std::atexit(PrintTally); }

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t length) {
  microscopiq::TryProgram(data, length, &tally);
  return 0;
}

extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t length, size_t most_bytes,
                                          unsigned seed) {
  microscopiq::Random random(seed);
  std::string program(reinterpret_cast<const char*>(data), length);
  if (microscopiq::Loads(data, length)) {
    Keep(program, &random);
  } else if (!loaded.empty() && random() % 8) {
    program = loaded[random() % loaded.size()];
  }
  std::string changed =
      random() % 16 ? microscopiq::Mutate(program, &random) : microscopiq::MakeUp(program, &random);
  if (changed.size() > most_bytes) changed.resize(most_bytes);
  std::memcpy(data, changed.data(), changed.size());
  return changed.size();
}
