// What a made-up function does: anything that machines offer, in any order.
#include <algorithm>
#include <iterator>
#include <tuple>

#include "code.h"
#include "generate.h"
#include "recon/plan.h"

namespace microscopiq {
namespace {

constexpr int kMostM = 6;
// Extent registers by what they hold.
enum : uint8_t { kM, kRows, kCols, kMoved, kOne };

// What a plane holds at most.
struct PlaneShape {
  bool there = false;
  int64_t rows = 0, cols = 0;
};

class Generator {
 public:
  Generator(const ArchNumbers& arch, const std::vector<MadePanel>& panels, Random* random)
      : arch_(arch),
        panels_(panels),
        random_(random),
        writer_(!OneIn(random, 3), random),
        planes_(arch.weight_planes) {}

  std::vector<std::string> Make();

 private:
  void Fill(Mem mem, int64_t bytes);
  void Another();
  void LoadPanel();
  void LoadRows();
  void Multiply();
  void Gather();
  void Drained();
  void Vector();
  void Convert();
  void Indexed();
  void Steps(int64_t rows, int64_t cols, int64_t pitch, const Affine& dst);
  void Quantize();
  void Store();
  // Rows and columns of a box of fp32 in obuf.
  void Box(int64_t* rows, int64_t* cols);
  int64_t Pitch(int64_t row_bytes) { return row_bytes + 4 * Below(random_, 3); }
  Affine InMemory(int64_t size, int64_t rows, int64_t pitch, int64_t row_bytes, int64_t align) {
    return writer_.Within(size - (rows - 1) * pitch - row_bytes, align);
  }

  const ArchNumbers& arch_;
  const std::vector<MadePanel>& panels_;
  Random* random_;
  CodeWriter writer_;
  std::vector<PlaneShape> planes_;
  bool has_rows_ = false;  // whether int8 rows are loaded into wbuf, not panels alone
  const MadePanel* last_panel_ = nullptr;  // nothing was loaded over it
  Affine last_address_{};
};

std::vector<std::string> Generator::Make() {
  has_rows_ = OneIn(random_, 4);
  writer_.Extent(kOne, 1);
  Fill(Mem::kSpad, arch_.spad_bytes);
  Fill(Mem::kObuf, arch_.obuf_bytes);
  Fill(Mem::kAcc, arch_.acc_bytes);
  if (has_rows_) Fill(Mem::kWbuf, arch_.wbuf_bytes);
  for (int64_t left = Between(random_, 2, 24); left > 0; --left) {
    if (OneIn(random_, 5)) writer_.OpenLoop();
    Another();
    if (OneIn(random_, 5)) writer_.CloseLoop();
  }
  writer_.End();
  return std::move(writer_.code);
}

void Generator::Another() {
  switch (Below(random_, 16)) {
    case 0:
    case 1:
    case 2:
      return has_rows_ && OneIn(random_, 2) ? LoadRows() : LoadPanel();
    case 3:
      return OneIn(random_, 3) ? Indexed() : Gather();
    case 4:
    case 5:
      return Drained();
    case 6:
      return OneIn(random_, 3) ? Convert() : Vector();
    case 7:
      return Quantize();
    case 8:
    case 9:
      return Store();
    default:
      return Multiply();
  }
}

// All of a memory: what is read later was written. The same elements again and again.
void Generator::Fill(Mem mem, int64_t bytes) {
  const bool floats = mem == Mem::kObuf;
  const int64_t element = floats ? 4 : 1, known = floats ? kFloatsIn : kBytesIn;
  const int64_t cols = std::min(known, bytes / element / 4), rows = bytes / element / cols;
  writer_.Clip(kRows, rows, rows, CodeWriter::At(0));
  writer_.Clip(kCols, cols, cols, CodeWriter::At(0));
  DmaLoad load{};
  load.mem = static_cast<uint8_t>(mem);
  load.dst_pitch = static_cast<uint32_t>(cols * element);
  load.arg = floats ? 1 : 0;
  load.src_step = static_cast<int32_t>(element);
  load.element = static_cast<uint8_t>(element);
  load.rows = kRows;
  load.cols = kCols;
  writer_.Do(load);
}

void Generator::LoadPanel() {
  if (panels_.empty()) return;
  const int64_t number = Below(random_, static_cast<int64_t>(panels_.size()));
  const MadePanel& panel = panels_[number];
  const int64_t bytes = static_cast<int64_t>(panel.bytes.size());
  DmaWeight weight{};
  weight.dst = CodeWriter::At(Below(random_, arch_.wbuf_bytes - bytes + 1));
  weight.panel = CodeWriter::At(number);
  weight.capacity = static_cast<uint32_t>(bytes + Below(random_, 9));
  writer_.Do(weight);
  last_panel_ = &panel;
  last_address_ = weight.dst;

  const int plane = static_cast<int>(Below(random_, arch_.weight_planes));
  const int64_t step = panel.format->has_outliers ? kMicroBlock : 1;
  const int64_t columns = ArrayColumns(arch_, panel.format->pe_bits);
  int64_t tile = std::min<int64_t>(Between(random_, 1, columns), panel.cols);
  // A tile ends with a micro-block or with the panel.
  if (tile < panel.cols) tile = std::max(step, tile / step * step);
  const int64_t rows = Between(random_, 1, std::min<int64_t>(arch_.array_rows, panel.rows));
  Preload load{};
  load.plane = CodeWriter::At(plane);
  load.src = weight.dst;
  load.format = static_cast<uint8_t>(panel.format->code);
  load.row0 = CodeWriter::At(Below(random_, panel.rows - rows + 1));
  load.col0 = CodeWriter::At(Below(random_, panel.cols / tile) * tile);
  if (load.col0.base % step) load.col0.base = 0;
  const int loop = writer_.depth() - 1;
  if (loop >= 0 && tile % step == 0) {
    // The last turns may find less than a tile, or nothing.
    load.col0.base = 0;
    if ((writer_.turns(loop) - 1) * tile < panel.cols) load.col0.strides[loop] = tile;
  }
  load.rows = kRows;
  load.cols = kCols;
  writer_.Clip(kRows, rows, rows, CodeWriter::At(0));
  writer_.Clip(kCols, tile, panel.cols, load.col0);
  const bool both = arch_.recon_units && arch_.replay_columns;
  if (panel.format->has_outliers && (both ? OneIn(random_, 2) : arch_.replay_columns > 0)) {
    // Rows of the panel, of its outliers, of both, or none: products may take all of its inputs.
    const Affine row0 = CodeWriter::At(Below(random_, 2 * panel.rows));
    writer_.Do(PreloadReplay{load.plane, load.src, load.format, row0, load.col0, kRows, kCols});
    planes_[plane] = {true, panel.rows, tile};
    return;
  }
  writer_.Do(load);
  if (panel.format->has_outliers) {
    writer_.Do(ReconConfig{load.plane, load.src, load.format, load.row0, load.col0, kRows, kCols});
  }
  planes_[plane] = {true, rows, tile};
}

void Generator::LoadRows() {
  if (!arch_.multi_precision && arch_.pe_weight_bits < 8) return;
  const int64_t columns = ArrayColumns(arch_, 8), plane = Below(random_, arch_.weight_planes);
  if (columns == 0) return;
  const int64_t rows = Between(random_, 1, arch_.array_rows), cols = Between(random_, 1, columns);
  const int64_t pitch = Pitch(rows);
  writer_.Extent(kRows, rows);
  writer_.Extent(kCols, cols);
  PreloadRows load{};
  load.plane = CodeWriter::At(plane);
  load.src = InMemory(arch_.wbuf_bytes, cols, pitch, rows, 1);
  load.src_pitch = static_cast<uint32_t>(pitch);
  load.rows = kRows;
  load.cols = kCols;
  writer_.Do(load);
  planes_[plane] = {true, rows, cols};
}

void Generator::Multiply() {
  const int64_t number = Below(random_, arch_.weight_planes);
  if (!planes_[number].there) return LoadPanel();
  const PlaneShape plane = planes_[number];
  const int64_t m = Between(random_, 1, kMostM);
  writer_.Extent(kM, m);
  Matmul matmul{};
  matmul.plane = CodeWriter::At(number);
  const int64_t x_pitch = OneIn(random_, 8) ? 0 : Pitch(plane.rows), pitch = Pitch(4 * plane.cols);
  matmul.src = InMemory(arch_.spad_bytes, m, x_pitch, plane.rows, 1);
  matmul.src_pitch = static_cast<uint32_t>(x_pitch);
  matmul.dst = InMemory(arch_.acc_bytes, m, pitch, 4 * plane.cols, 4);
  matmul.dst_pitch = static_cast<uint32_t>(pitch);
  matmul.rows = kM;
  matmul.accumulate = writer_.Within(1);
  writer_.Do(matmul);
}

void Generator::Gather() {
  DmaIm2col gather{};
  gather.mem = static_cast<uint8_t>(Mem::kSpad);
  gather.height = static_cast<uint16_t>(Between(random_, 1, 9));
  gather.width = static_cast<uint16_t>(Between(random_, 1, 9));
  for (uint16_t* number : {&gather.out_width, &gather.kernel_h, &gather.kernel_w, &gather.stride_h,
                           &gather.stride_w, &gather.dilation_h, &gather.dilation_w}) {
    *number = static_cast<uint16_t>(Between(random_, 1, 3));
  }
  gather.pad_top = static_cast<uint16_t>(Below(random_, 3));
  gather.pad_left = static_cast<uint16_t>(Below(random_, 3));
  const int64_t rows = Between(random_, 1, 8), cols = Between(random_, 1, 20);
  writer_.Extent(kRows, rows);
  writer_.Extent(kCols, cols);
  gather.dst_pitch = static_cast<uint32_t>(Pitch(cols));
  gather.dst = InMemory(arch_.spad_bytes, rows, gather.dst_pitch, cols, 1);
  gather.src = CodeWriter::At(0);
  gather.row0 = writer_.Within(5);
  // Up to 20 channels of 81 pixels would leave the argument.
  gather.col0 = writer_.Within(3);
  gather.rows = kRows;
  gather.cols = kCols;
  writer_.Do(gather);
}

// Elements of the bytes to words, and words to elements; int64 only where they are written.
void Generator::Convert() {
  int64_t rows, cols;
  Box(&rows, &cols);
  const int64_t pitch = Pitch(4 * cols);
  const bool store = OneIn(random_, 2);
  const int64_t last = static_cast<int64_t>(std::size(kConversionBytes)) - (store ? 1 : 2);
  const auto convert = static_cast<uint8_t>(Between(random_, 1, last));
  const auto element = static_cast<uint8_t>(kConversionBytes[convert]);
  const Affine words = InMemory(arch_.obuf_bytes, rows, pitch, 4 * cols, 4);
  const int64_t known = store ? 4 * kFloatsOut : kBytesIn;
  const Affine there = InMemory(known, rows, cols * element, cols * element, 1);
  if (store) {
    writer_.Do(DmaStore{2, there, cols * element, element, static_cast<uint8_t>(Mem::kObuf), words,
                        static_cast<uint32_t>(pitch), element, kM, kCols, convert});
  } else {
    writer_.Do(DmaLoad{static_cast<uint8_t>(Mem::kObuf), words, static_cast<uint32_t>(pitch), 0,
                       there, cols * element, element, element, kM, kCols, convert});
  }
}

// Rows by indices that are all the same, and sometimes beyond the last one.
void Generator::Indexed() {
  const int64_t rows = Between(random_, 1, 6), cols = Between(random_, 1, 8);
  const int64_t limit = Between(random_, 1, 9);
  if (arch_.obuf_bytes < 4 * rows) return;
  writer_.Extent(kM, rows);
  const Affine at = CodeWriter::At(0);
  const auto index = static_cast<int32_t>(Below(random_, limit + OneIn(random_, 16)));
  writer_.Do(FillInt{at, 4, index, kM, kOne});
  writer_.Extent(kCols, cols);
  DmaGather gather{};
  gather.mem = static_cast<uint8_t>(Mem::kSpad);
  gather.dst_pitch = static_cast<uint32_t>(Pitch(cols));
  gather.dst = InMemory(arch_.spad_bytes, rows, gather.dst_pitch, cols, 1);
  gather.src_pitch = cols;
  gather.src_step = 1;
  gather.element = 1;
  gather.index = at;
  gather.index_pitch = 4;
  gather.limit = static_cast<uint32_t>(limit);
  gather.rows = kM;
  gather.cols = kCols;
  writer_.Do(gather);
}

void Generator::Box(int64_t* rows, int64_t* cols) {
  *rows = Between(random_, 1, 6);
  *cols = Between(random_, 1, 30);
  writer_.Extent(kM, *rows);
  writer_.Extent(kCols, *cols);
}

void Generator::Drained() {
  int64_t rows, cols;
  if (!has_rows_ && !last_panel_) return Store();
  Box(&rows, &cols);
  const bool by_panel = last_panel_ && (!has_rows_ || OneIn(random_, 2));
  if (by_panel && cols > last_panel_->cols) writer_.Extent(kCols, cols = last_panel_->cols);
  const int64_t pitch = Pitch(4 * cols);
  if (OneIn(random_, 3)) {
    DrainInt sums{};
    sums.dst = InMemory(arch_.obuf_bytes, rows, pitch, 4 * cols, 4);
    sums.src = InMemory(arch_.acc_bytes, rows, pitch, 4 * cols, 4);
    sums.dst_pitch = sums.src_pitch = static_cast<uint32_t>(pitch);
    sums.rows = kM;
    sums.cols = kCols;
    sums.accumulate = writer_.Within(1);
    return writer_.Do(sums);
  }
  Drain drain{};
  drain.dst = InMemory(arch_.obuf_bytes, rows, pitch, 4 * cols, 4);
  drain.dst_pitch = static_cast<uint32_t>(pitch);
  drain.src = InMemory(arch_.acc_bytes, rows, pitch, 4 * cols, 4);
  drain.src_pitch = static_cast<uint32_t>(pitch);
  drain.format = by_panel ? static_cast<uint8_t>(last_panel_->format->code) : kRowsInt8;
  drain.wscale = by_panel ? last_address_ : InMemory(arch_.wbuf_bytes, cols, 1, 1, 1);
  drain.wscale_pitch = 1;
  drain.xexp_cols = static_cast<uint32_t>(OneIn(random_, 2) ? Below(random_, cols + 1) : 0);
  const int64_t exponents = drain.xexp_cols ? (cols + drain.xexp_cols - 1) / drain.xexp_cols : 1;
  drain.xexp = InMemory(arch_.spad_bytes, rows, 1, exponents, 1);
  drain.xexp_pitch = static_cast<uint32_t>(Below(random_, 2));
  drain.rows = kM;
  drain.cols = kCols;
  drain.accumulate = writer_.Within(1);
  writer_.Do(drain);
}

// A fill, a map whose operands lie apart from its result or in its place, or a reduction.
void Generator::Steps(int64_t rows, int64_t cols, int64_t pitch, const Affine& dst) {
  const auto bytes = static_cast<uint32_t>(pitch);
  if (OneIn(random_, 2)) {
    writer_.Do(FillInt{dst, bytes, static_cast<int32_t>(Below(random_, 40) - 8), kM, kCols});
  } else {
    writer_.Do(microscopiq::Fill{dst, bytes, 0.75f, kM, kCols});
  }
  Map map{};
  map.operation = static_cast<uint8_t>(Between(random_, 1, std::size(kMapOperationClass) - 1));
  // Most operands have no quotient or sum that fits: one of two runs would end here.
  if (kMapOperationRefused[map.operation] && !OneIn(random_, 8)) {
    map.operation = static_cast<uint8_t>(MapOperation::kIntAdd);
  }
  map.dst = dst;
  map.dst_pitch = bytes;
  const int count = kMapOperationOperands[map.operation];
  map.a = dst;
  map.a_pitch = bytes;
  map.a_step = 4;
  if (count > 1) std::tie(map.b, map.b_pitch, map.b_step) = std::tuple(dst, bytes, uint8_t{4});
  if (count > 2) std::tie(map.c, map.c_pitch, map.c_step) = std::tuple(dst, bytes, uint8_t{4});
  map.rows = kM;
  map.cols = kCols;
  writer_.Do(map);
  // Rows lie in the first half, their results in the second.
  const int64_t half = arch_.obuf_bytes / 8 * 4;
  const int64_t most = half - (rows - 1) * pitch - 4 * cols;
  if (most < 0) return;
  Reduce reduce{};
  reduce.operation = static_cast<uint8_t>(Between(random_, 1, std::size(kReductionClass) - 1));
  reduce.dst = CodeWriter::At(half);
  reduce.dst_pitch = 4;
  reduce.src = writer_.Within(most, 4);
  reduce.src_pitch = bytes;
  reduce.rows = kM;
  reduce.cols = kCols;
  writer_.Do(reduce);
  if (reduce.operation > static_cast<uint8_t>(Reduction::kIntMinimum)) return;
  const int64_t bytes_apart = 4 * kPartials;
  if (half + rows * bytes_apart > arch_.obuf_bytes) return;
  for (int64_t turn = 0; turn < 2; ++turn) {
    writer_.Do(ReducePart{reduce.operation, reduce.dst, static_cast<uint32_t>(bytes_apart),
                          reduce.src, reduce.src_pitch, kM, kCols, CodeWriter::At(turn)});
  }
}

void Generator::Vector() {
  int64_t rows, cols;
  Box(&rows, &cols);
  const int64_t pitch = Pitch(4 * cols);
  const Affine dst = InMemory(arch_.obuf_bytes, rows, pitch, 4 * cols, 4);
  if (OneIn(random_, 2)) {
    Clamp clamp{dst, static_cast<uint32_t>(pitch), -1.5f, 2.25f, kM, kCols};
    return writer_.Do(clamp);
  }
  if (OneIn(random_, 2)) return Steps(rows, cols, pitch, dst);
  const int64_t src_pitch = OneIn(random_, 3) ? 0 : pitch;
  const Affine src = InMemory(arch_.obuf_bytes, rows, pitch, 4 * cols, 4);
  writer_.Do(
      Add{dst, static_cast<uint32_t>(pitch), src, static_cast<uint32_t>(src_pitch), kM, kCols});
}

void Generator::Quantize() {
  int64_t rows, cols;
  Box(&rows, &cols);
  const int64_t pitch = Pitch(4 * cols), out_pitch = Pitch(cols);
  const Affine src = InMemory(arch_.obuf_bytes, rows, pitch, 4 * cols, 4);
  const Affine exponents = InMemory(arch_.spad_bytes, rows, 1, 1, 1);
  const uint8_t bits = OneIn(random_, 2) ? 4 : 8;
  writer_.Do(
      Absmax{exponents, 1, src, static_cast<uint32_t>(pitch), kM, kCols, writer_.Within(1), bits});
  writer_.Do(Quant{InMemory(arch_.spad_bytes, rows, out_pitch, cols, 1),
                   static_cast<uint32_t>(out_pitch), exponents, 1, src,
                   static_cast<uint32_t>(pitch), kM, kCols, bits});
}

void Generator::Store() {
  int64_t rows, cols;
  Box(&rows, &cols);
  const Mem mem = static_cast<Mem>(OneIn(random_, 4) ? 0 : 2 + Below(random_, 2));
  const int64_t size = mem == Mem::kSpad  ? arch_.spad_bytes
                       : mem == Mem::kAcc ? arch_.acc_bytes
                                          : arch_.obuf_bytes;
  const int64_t pitch = Pitch(4 * cols), out_pitch = Pitch(4 * cols);
  DmaStore store{};
  store.arg = 2;
  store.dst = InMemory(4 * kFloatsOut, rows, out_pitch, 4 * cols, 4);
  store.dst_pitch = out_pitch;
  store.dst_step = 4;
  store.mem = static_cast<uint8_t>(mem);
  store.src = InMemory(size, rows, pitch, 4 * cols, 4);
  store.src_pitch = static_cast<uint32_t>(pitch);
  store.element = 4;
  store.rows = kM;
  store.cols = kCols;
  writer_.Do(store);
}

}  // namespace

std::vector<std::string> MakeCode(const ArchNumbers& arch, const std::vector<MadePanel>& panels,
                                  Random* random) {
  return Generator(arch, panels, random).Make();
}

}  // namespace microscopiq
