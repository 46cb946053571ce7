// The inner loops, compiled once per vector extension; all variants give equal values.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "isa.gen.h"
#include "kernels/functions.gen.h"
#include "kernels/slot.h"
#include "kernels/vector_loops.h"

namespace microscopiq {

// Weights for `multiply`: blocks of kBlock columns, in each all pairs of rows, in each pair
// (w[2p][n], w[2p+1][n]) beside each other. That is the operand order of a pairwise
// multiply-add. Missing rows and columns are 0.
constexpr int kBlock = 16;
constexpr int kMaxArrayDim = 1024;

struct LargeWeight {
  int row;
  int col;
  int32_t value;
};

struct DecodeArgs {
  const uint8_t* slots;  // first row
  int64_t pitch;         // bytes between rows
  Codes codes;
  int bits;
  const int8_t* values;  // of each code
  int rows;
  int cols;
  const int* shifts;  // left shift of each row
  int16_t* packed;
};

struct MatmulArgs {
  const int8_t* x;  // (m, rows)
  int64_t x_pitch;
  const int16_t* packed;
  const LargeWeight* large;  // weights beyond 16 bits; their place in `packed` holds 0
  int64_t large_count;
  int rows;
  int cols;
  int64_t m;
  uint8_t* acc;  // int32 (m, cols)
  int64_t acc_pitch;
  bool accumulate;
  int32_t low;  // limits of an accumulator
  int32_t high;
};

// out = function(x[, y]) of `count` elements, of the types that the table of functions says.
using FunctionLoop = void (*)(const void* x, const void* y, int64_t count, void* out);

struct Kernels {
  const char* name;
  // In the order of MICROSCOPIQ_FUNCTIONS.
  const FunctionLoop* functions;
  // Slots to `packed`; every value must fit 16 bits.
  void (*Decode)(const DecodeArgs& args);
  // acc = saturate([acc +] x * w); returns the saturations. Needs that no sum of products
  // of a row leaves 32 bits.
  int64_t (*Multiply)(const MatmulArgs& args);
  // The same for any weights up to 32 bits, given as exact doubles (rows, cols).
  int64_t (*MultiplyWide)(const MatmulArgs& args, const double* weights);
#define MICROSCOPIQ_MEMBER(Name, Result, Parameters) Result(*Name) Parameters;
  MICROSCOPIQ_VECTOR_LOOPS(MICROSCOPIQ_MEMBER)
#undef MICROSCOPIQ_MEMBER
};

// The best variant this CPU has, or the one that was selected.
const Kernels& ActiveKernels();
std::vector<std::string> KernelNames();
// Returns false for a name that isn't in `KernelNames`.
bool SelectKernels(const std::string& name);

}  // namespace microscopiq
