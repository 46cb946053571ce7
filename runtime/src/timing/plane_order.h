// Whose turn a weight plane is, where no tokens say so: that of the order of the program.
//
// A load begins once the matmuls before it on its plane have started, a matmul once the plane's
// loads before it have begun. That is about the instructions alone; rows have times of their own.
#pragma once
#include <cstdint>
#include <vector>

#include "isa.gen.h"

namespace microscopiq {

class PlaneOrder {
 public:
  // How many of a plane's instructions were dispatched before.
  struct Place {
    int64_t loads = 0, merges = 0, matmuls = 0;
  };

  explicit PlaneOrder(const ArchNumbers& arch) : planes_(arch.weight_planes) {}

  void Clear();
  Place Dispatch(Unit unit, int plane);
  void Start(Unit unit, int plane, int64_t cycle);
  // Cycle from which on an instruction may start; INT64_MAX while others have to start before.
  int64_t Turn(Unit unit, int plane, const Place& place) const;

 private:
  struct PlaneState {
    Place dispatched, started;
    int64_t load = 0, merge = 0, matmul = 0;  // cycle in which the last one started
  };

  std::vector<PlaneState> planes_;
};

}  // namespace microscopiq
