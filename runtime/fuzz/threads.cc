// Several threads with simulators of their own, and on one: for the thread sanitizer.
//
// microscopiq_threads FILE...
#include <atomic>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "errors.h"
#include "generate.h"
#include "kernels/kernel.h"
#include "simulator.h"

namespace {

using microscopiq::Function;
using microscopiq::Simulator;
using microscopiq::Tensor;

constexpr int kThreads = 4, kRounds = 3, kMade = 25;

bool Never() { return false; }

// What all functions of a program gave: outputs, and records of calls that ran to their end.
std::string RunAll(Simulator* simulator) {
  std::string outputs;
  for (const auto& [name, function] : simulator->program().functions) {
    std::vector<std::vector<uint8_t>> bytes;
    std::vector<Tensor> tensors;
    for (const auto& argument : function.arguments) {
      bytes.emplace_back(argument.bytes, uint8_t{1});
      tensors.push_back({bytes.back().data(), argument.bytes, argument.is_output});
    }
    try {
      if (function.weights.shape_only) {
        simulator->Time(function);
      } else {
        simulator->Run(function, tensors);
      }
    } catch (const microscopiq::Error& error) {
      outputs += error.message();
    }
    for (const auto& each : bytes) outputs.append(each.begin(), each.end());
  }
  return outputs;
}

template <typename Body>
void InThreads(Body body) {
  std::vector<std::thread> threads;
  for (int number = 0; number < kThreads; ++number) threads.emplace_back(body, number);
  for (std::thread& thread : threads) thread.join();
}

int failures = 0;

void Check(bool right, const char* what) {
  if (right) return;
  std::fprintf(stderr, "%s\n", what);
  ++failures;
}

void TryProgram(const std::string& program) {
  const uint8_t* data = reinterpret_cast<const uint8_t*>(program.data());
  Simulator alone(data, program.size(), Never);
  // Some machines can't be stepped.
  alone.SetMode("structural");
  const bool steps = RunAll(&alone).find("structural mode: ") == std::string::npos;
  alone.SetMode("fast");
  alone.Reset();
  const std::string outputs = RunAll(&alone), stats = alone.Stats();

  // Simulators of their own: neither values nor records depend on what else runs.
  std::atomic<int> wrong{0};
  InThreads([&](int number) {
    const std::vector<std::string> kernels = microscopiq::KernelNames();
    Simulator own(data, program.size(), Never);
    for (int round = 0; round < kRounds; ++round) {
      microscopiq::SelectKernels(kernels[(number + round) % kernels.size()]);
      own.SetMode(steps && number % 2 ? "structural" : "fast");
      own.Reset();
      wrong += RunAll(&own) != outputs || own.Stats() != stats;
    }
  });
  Check(wrong == 0, "a simulator gives something else beside others");

  // One for all: calls follow each other, whatever is asked and set meanwhile.
  Simulator shared(data, program.size(), Never);
  InThreads([&](int number) {
    for (int round = 0; round < kRounds; ++round) {
      shared.SetMode(steps && number % 2 ? "structural" : "fast");
      shared.SetTrace(round % 2);
      shared.SetBudget(1000000, 0, 0);
      wrong += RunAll(&shared) != outputs;
      shared.Stats();
      if (number == 0) shared.Reset();
      shared.Traces();
    }
  });
  Check(wrong == 0, "a shared simulator gives other values");
}

}  // namespace

int main(int count, char** words) {
  int programs = 0;
  for (int i = 1; i < count; ++i, ++programs) {
    std::ifstream file(words[i], std::ios::binary);
    TryProgram({std::istreambuf_iterator<char>(file), {}});
  }
  for (int seed = 0; seed < kMade; ++seed, ++programs) {
    microscopiq::Random random(seed);
    TryProgram(microscopiq::MakeProgram(&random));
  }
  std::printf("%d programs in %d threads, with simulators of their own and on one: %d failures\n",
              programs, kThreads, failures);
  return failures ? 1 : 0;
}
