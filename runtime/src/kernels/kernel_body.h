// Bodies of the inner loops. Included by one .cc file per vector extension, which first defines
// the namespace MICROSCOPIQ_ISA with `Vec` (int32 lanes), kTileRows and kTileVecs, Load,
// Store, Broadcast, MultiplyAddPairs, and then compiles this with the extension enabled.
//
// No standard header may be included here: its inline functions would be compiled for the
// extension and could replace those of the rest of the program.

namespace microscopiq {
namespace MICROSCOPIQ_ISA {

constexpr int kLanes = sizeof(Vec) / 4;
constexpr int kVecsPerBlock = kBlock / kLanes;

template <typename T>
inline T Least(T a, T b) {
  return b < a ? b : a;
}

template <int kBits, Codes kCodes>
void DecodeRow(const uint8_t* slots, int cols, int shift, int16_t* out) {
  constexpr int kPerByte = 8 / kBits;
  constexpr int kMask = (1 << kBits) - 1;
  constexpr int kSign = 1 << (kBits - 1);
  auto value = [shift](int code) {
    int16_t v;
    if (kCodes == Codes::kTwosComplement) {
      v = static_cast<int16_t>((code ^ kSign) - kSign);
    } else {
      int16_t sign = static_cast<int16_t>(-(code >> (kBits - 1)));
      v = static_cast<int16_t>(((code & (kSign - 1)) ^ sign) - sign);
    }
    return static_cast<int16_t>(v * static_cast<int16_t>(1 << shift));
  };
  const int bytes = (cols + kPerByte - 1) / kPerByte;
  for (int i = 0; i < bytes; ++i) {
    for (int j = 0; j < kPerByte; ++j) {
      out[i * kPerByte + j] = value(slots[i] >> (j * kBits) & kMask);
    }
  }
  for (int n = cols; n < bytes * kPerByte; ++n) out[n] = 0;
}

// Codes of any width and meaning.
void DecodeAnyRow(const DecodeArgs& args, const uint8_t* slots, int shift, int16_t* out) {
  const int16_t factor = static_cast<int16_t>(1 << shift);
  for (int n = 0; n < args.cols; ++n) {
    out[n] = static_cast<int16_t>(args.values[SlotAt(slots, n * args.bits, args.bits)] * factor);
  }
}

void DecodeRow(const DecodeArgs& args, int row, int16_t* out) {
  const uint8_t* slots = args.slots + row * args.pitch;
  const int shift = args.shifts[row];
  const bool sign_magnitude = args.codes == Codes::kSignMagnitude;
  const bool twos_complement = args.codes == Codes::kTwosComplement;
  if (sign_magnitude && args.bits == 2) {
    DecodeRow<2, Codes::kSignMagnitude>(slots, args.cols, shift, out);
  } else if (sign_magnitude && args.bits == 4) {
    DecodeRow<4, Codes::kSignMagnitude>(slots, args.cols, shift, out);
  } else if (twos_complement && args.bits == 4) {
    DecodeRow<4, Codes::kTwosComplement>(slots, args.cols, shift, out);
  } else if (twos_complement && args.bits == 8) {
    DecodeRow<8, Codes::kTwosComplement>(slots, args.cols, shift, out);
  } else {
    DecodeAnyRow(args, slots, shift, out);
  }
}

void Decode(const DecodeArgs& args) {
  const int pairs = (args.rows + 1) / 2;
  const int blocks = (args.cols + kBlock - 1) / kBlock;
  int16_t even[kMaxArrayDim + kBlock] = {}, odd[kMaxArrayDim + kBlock] = {};
  for (int pair = 0; pair < pairs; ++pair) {
    DecodeRow(args, 2 * pair, even);
    if (2 * pair + 1 < args.rows) {
      DecodeRow(args, 2 * pair + 1, odd);
    } else {
      for (int n = 0; n < blocks * kBlock; ++n) odd[n] = 0;
    }
    for (int block = 0; block < blocks; ++block) {
      int16_t* out = args.packed + (static_cast<int64_t>(block) * pairs + pair) * 2 * kBlock;
      for (int n = 0; n < kBlock; ++n) {
        out[2 * n] = even[block * kBlock + n];
        out[2 * n + 1] = odd[block * kBlock + n];
      }
    }
  }
}

// sums (kRows, kVecs * kLanes) = x (kRows, 2 * pairs) * w, all in registers.
template <int kRows, int kVecs>
void Tile(const int16_t* x, int64_t x_pitch, const int16_t* w, int pairs, int32_t* sums,
          int64_t sums_pitch) {
  Vec total[kRows][kVecs];
  for (int r = 0; r < kRows; ++r) {
    for (int v = 0; v < kVecs; ++v) total[r][v] = Vec{};
  }
  for (int pair = 0; pair < pairs; ++pair) {
    Vec weights[kVecs];
    for (int v = 0; v < kVecs; ++v) {
      const int64_t block = static_cast<int64_t>(v / kVecsPerBlock) * pairs;
      weights[v] = Load(w + (block + pair) * 2 * kBlock + (v % kVecsPerBlock) * 2 * kLanes);
    }
    for (int r = 0; r < kRows; ++r) {
      const Vec pixel = Broadcast(x + r * x_pitch + 2 * pair);
      for (int v = 0; v < kVecs; ++v) {
        total[r][v] = MultiplyAddPairs(total[r][v], pixel, weights[v]);
      }
    }
  }
  for (int r = 0; r < kRows; ++r) {
    for (int v = 0; v < kVecs; ++v) Store(total[r][v], sums + r * sums_pitch + v * kLanes);
  }
}

template <int kRows>
void RowGroup(const int16_t* x, int64_t x_pitch, const int16_t* w, int pairs, int blocks,
              int32_t* sums, int64_t sums_pitch) {
  constexpr int kBlocks = kTileVecs / kVecsPerBlock;
  const int64_t block_weights = static_cast<int64_t>(pairs) * 2 * kBlock;
  int block = 0;
  for (; block + kBlocks <= blocks; block += kBlocks) {
    Tile<kRows, kTileVecs>(x, x_pitch, w + block * block_weights, pairs, sums + block * kBlock,
                           sums_pitch);
  }
  for (; block < blocks; ++block) {
    Tile<kRows, kVecsPerBlock>(x, x_pitch, w + block * block_weights, pairs, sums + block * kBlock,
                               sums_pitch);
  }
}

// `RowGroup` for a number of rows known only now, up to kRows.
template <int kRows, typename... Args>
void AnyRowGroup(int rows, Args... args) {
  if constexpr (kRows > 1) {
    if (rows < kRows) return AnyRowGroup<kRows - 1>(rows, args...);
  }
  RowGroup<kRows>(args...);
}

int32_t Accumulate(const int32_t* sums, int64_t count, bool accumulate, int32_t low, int32_t high,
                   int32_t* acc) {
  if (!accumulate && low == INT32_MIN && high == INT32_MAX) {
    __builtin_memcpy(acc, sums, count * sizeof(*acc));
    return 0;
  }
  int32_t saturations = 0;
  for (int64_t n = 0; n < count; ++n) {
    const int32_t old = accumulate ? acc[n] : 0;
    const int32_t wrapped = static_cast<int32_t>(static_cast<uint32_t>(old) + sums[n]);
    const int32_t overflow = ((old ^ wrapped) & (sums[n] ^ wrapped)) >> 31;
    const int32_t exact = overflow ? (old >> 31) ^ INT32_MAX : wrapped;
    int32_t kept = exact < low ? low : exact;
    kept = kept > high ? high : kept;
    saturations += (overflow | (kept ^ exact)) != 0;
    acc[n] = kept;
  }
  return saturations;
}

int64_t Multiply(const MatmulArgs& args) {
  const int pairs = (args.rows + 1) / 2;
  const int blocks = (args.cols + kBlock - 1) / kBlock;
  alignas(64) int16_t x[kTileRows][kMaxArrayDim + 2];
  alignas(64) int32_t sums[kTileRows][kMaxArrayDim + kBlock];
  constexpr int64_t kXPitch = kMaxArrayDim + 2, kSumsPitch = kMaxArrayDim + kBlock;
  int64_t saturations = 0;
  for (int64_t m = 0; m < args.m; m += kTileRows) {
    const int rows = static_cast<int>(Least<int64_t>(kTileRows, args.m - m));
    for (int r = 0; r < rows; ++r) {
      const int8_t* in = args.x + (m + r) * args.x_pitch;
      for (int k = 0; k < args.rows; ++k) x[r][k] = in[k];
      x[r][args.rows] = 0;
    }
    AnyRowGroup<kTileRows>(rows, x[0], kXPitch, args.packed, pairs, blocks, sums[0], kSumsPitch);
    for (int64_t i = 0; i < args.large_count; ++i) {
      const LargeWeight& weight = args.large[i];
      for (int r = 0; r < rows; ++r) sums[r][weight.col] += x[r][weight.row] * weight.value;
    }
    for (int r = 0; r < rows; ++r) {
      int32_t* acc = reinterpret_cast<int32_t*>(args.acc + (m + r) * args.acc_pitch);
      saturations += Accumulate(sums[r], args.cols, args.accumulate, args.low, args.high, acc);
    }
  }
  return saturations;
}

int64_t MultiplyWide(const MatmulArgs& args, const double* weights) {
  // A sum of up to 1024 products of 8 and 32 bits has at most 50 bits: exact in a double.
  alignas(64) double sums[kMaxArrayDim];
  int64_t saturations = 0;
  for (int64_t m = 0; m < args.m; ++m) {
    const int8_t* in = args.x + m * args.x_pitch;
    for (int n = 0; n < args.cols; ++n) sums[n] = 0;
    for (int k = 0; k < args.rows; ++k) {
      const double pixel = in[k];
      const double* row = weights + static_cast<int64_t>(k) * args.cols;
      for (int n = 0; n < args.cols; ++n) sums[n] += pixel * row[n];
    }
    int32_t* acc = reinterpret_cast<int32_t*>(args.acc + m * args.acc_pitch);
    for (int n = 0; n < args.cols; ++n) {
      const double exact = sums[n] + (args.accumulate ? acc[n] : 0);
      const double kept = exact < args.low ? args.low : exact > args.high ? args.high : exact;
      saturations += kept != exact;
      acc[n] = static_cast<int32_t>(kept);
    }
  }
  return saturations;
}

}  // namespace MICROSCOPIQ_ISA

}  // namespace microscopiq

#include "kernels/map_loops.h"
#include "kernels/reduce_loops.h"
#include "kernels/vector_loops.h"
// In this order: each takes what those before it define.
// clang-format off
#include "kernels/functions/lanes.h"
#include "kernels/functions/exponential.h"
#include "kernels/functions/logarithm.h"
#include "kernels/functions/trigonometric.h"
#include "kernels/functions/loops.h"
// clang-format on
