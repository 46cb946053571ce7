#include "structural/temporal_array.h"

#include "errors.h"

namespace microscopiq {

TemporalArray::TemporalArray(int rows, int cols, int row_cycles)
    : rows_(rows), cols_(cols), row_cycles_(row_cycles), pes_(static_cast<size_t>(rows) * cols) {}

void TemporalArray::Load(int row, int col, int code) {
  TemporalPe& pe = pes_[static_cast<size_t>(row) * cols_ + col];
  pe.Load(code);
  if (pe.pulse() > row_cycles_) {
    Fail(kSimError, "structural mode: PE ", row, ", ", col, ": a pulse of ", pe.pulse(),
         " cycles, but temporal_cycles = ", row_cycles_, " is a bound that has no structure");
  }
  if (pe.pulse() > 1) stay_ = row_cycles_;
}

int64_t TemporalArray::Stream(const int8_t* x, int64_t x_pitch, int inputs, int m, Guard* guard) {
  activations_.assign(pes_.size(), {});
  partial_.assign(pes_.size(), {});
  exits_.assign(cols_, {});
  sums_.assign(static_cast<size_t>(m) * cols_, 0);
  left_ = static_cast<int64_t>(m) * cols_;
  adds_ = busy_ = 0;
  int64_t now = 0;
  for (; left_ > 0; ++now) {
    if (guard) guard->Step();
    Step(now, {x, x_pitch, inputs, m});
  }
  return now;
}

TemporalArray::Word TemporalArray::Feed(int64_t now, int row, const Rows& rows) const {
  // Array row r starts r cycles later: its sums come down one row a cycle.
  const int64_t cycle = now - row;
  if (cycle < 0 || cycle >= int64_t{rows.count} * stay_) return {};
  const int m = static_cast<int>(cycle / stay_);
  const int8_t x = row < rows.inputs ? rows.x[m * rows.pitch + row] : int8_t{0};
  return {true, m, static_cast<int>(cycle % stay_), x};
}

void TemporalArray::Step(int64_t now, const Rows& rows) {
  // From the exits back: a PE reads what its neighbours had at the end of the last cycle.
  for (int row = rows_ - 1; row >= 0; --row) {
    for (int col = cols_ - 1; col >= 0; --col) {
      const size_t at = static_cast<size_t>(row) * cols_ + col;
      const Word in = col ? activations_[at - 1] : Feed(now, row, rows);
      Word sum = row ? partial_[at - cols_] : Word{in.there, in.m, in.cycle, 0};
      if (sum.there != in.there || sum.m != in.m || sum.cycle != in.cycle) {
        Fail(kSimError, "internal: PE ", row, ", ", col, " has an activation of row ", in.m,
             ", cycle ", in.cycle, " and a sum of row ", sum.m, ", cycle ", sum.cycle);
      }
      if (in.there) {
        sum.value = pes_[at].Add(sum.value, static_cast<int8_t>(in.value), in.cycle);
        adds_ += pes_[at].Adds(in.cycle);
        if (at == 0) busy_ = now + 1;
      }
      activations_[at] = in;
      partial_[at] = sum;
      if (row == rows_ - 1 && sum.there) Collect(col, sum);
    }
  }
}

void TemporalArray::Collect(int column, const Word& sum) {
  Word& exit = exits_[column];
  const bool first = sum.cycle == 0;
  if (!first && (exit.m != sum.m || exit.cycle + 1 != sum.cycle)) {
    Fail(kSimError, "internal: column ", column, " gives cycle ", sum.cycle, " of row ", sum.m,
         " after cycle ", exit.cycle, " of row ", exit.m);
  }
  exit = {true, sum.m, sum.cycle, (first ? 0 : exit.value) + sum.value};
  if (sum.cycle + 1 < stay_) return;
  sums_[static_cast<size_t>(sum.m) * cols_ + column] = exit.value;
  --left_;
}

}  // namespace microscopiq
