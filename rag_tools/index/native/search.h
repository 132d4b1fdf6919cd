// The native stages of a search, over plain arrays.

#pragma once

#include <cstddef>
#include <cstdint>
#include <new>

#include "kernel.h"

namespace rag_tools {

// An uninitialised array that starts at a cache line.
template <class T>
class Buffer {
  public:
    explicit Buffer(size_t n)
        : data_(static_cast<T*>(operator new(n * sizeof(T) + 64, kAlignment))) {}
    ~Buffer() { operator delete(data_, kAlignment); }
    Buffer(const Buffer&) = delete;
    Buffer& operator=(const Buffer&) = delete;

    T* data() { return data_; }
    const T* data() const { return data_; }
    T& operator[](size_t i) { return data_[i]; }

  private:
    static constexpr std::align_val_t kAlignment{64};
    T* data_;
};

struct Vectors {
    const float* data;   // (n, dim)
    int n;
    int dim;
};

struct Segment {
    Tokens tokens;
    const float* steps;             // (dim): the codec's
    const int64_t* token_offsets;   // (n_passages + 1)
    int64_t n_passages;
    int64_t n_tokens;
};

// All throw std::out_of_range when an array of the index points outside another.

// (vectors.n, centroids.n)
void centroid_scores(const Kernel&, const Vectors&, const Centroids&, int threads, float* scores);

// (n_positions)
void maxsim(const Kernel&, const Vectors&, const float* weights, const Centroids&, const Segment&,
            const int64_t* positions, int64_t n_positions, int threads, float* scores);

// (vectors.n, tokens of the passage)
void similarities(const Kernel&, const Vectors&, const Centroids&, const Segment&,
                  int64_t position, float* similarities);

// Cells by falling similarity, ties by number, until their sizes reach `reach`; returns how many.
int64_t nearest_cells(const float* similarity, const int64_t* sizes, int64_t n, int64_t reach,
                      int64_t* nearest);

struct Postings {
    const uint32_t* cells;      // (n_cells), rising
    const uint32_t* offsets;    // (n_cells + 1)
    const uint32_t* passages;   // (n_members)
    int64_t n_cells;
    int64_t n_members;
};

// Add to each passage the gain of the first visited cell that holds it.
void credit(const Postings&, const int64_t* visited, const float* gains, int64_t n_visited,
            float* scores, int64_t n_passages);

}  // namespace rag_tools
