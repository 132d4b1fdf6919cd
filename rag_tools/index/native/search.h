// The native stages of a search, over plain arrays.

#pragma once

#include <cstddef>
#include <cstdint>
#include <new>
#include <vector>

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

// A copy of all centroids in tiles.
class TiledCentroids {
  public:
    explicit TiledCentroids(const Centroids& centroids);
    TiledCentroids(const TiledCentroids&) = delete;
    TiledCentroids& operator=(const TiledCentroids&) = delete;

    const Tiles& tiles() const { return tiles_; }
    int64_t n() const { return n_; }

  private:
    int64_t n_;
    std::vector<int8_t> values_;
    std::vector<int32_t> sums_;
    std::vector<float> scales_;
    Tiles tiles_;
};

// Finds the cells of a segment: a bit for each centroid it has, and how many come before each 64
// centroids. A binary search per cell and segment took half of gather at 50 segments.
class CellDirectory {
  public:
    CellDirectory(const uint32_t* cells, int64_t n_cells, int64_t n_centroids);

    // The place of a centroid among the segment's cells, or -1.
    int64_t find(int64_t centroid) const {
        const Word& word = words_[static_cast<size_t>(centroid / 64)];
        const uint64_t bit = uint64_t{1} << centroid % 64;
        return word.bits & bit ? word.before + ones(word.bits & (bit - 1)) : -1;
    }

  private:
    struct Word {
        uint64_t bits;
        int64_t before;
    };

    static int ones(uint64_t bits) {
        bits -= bits >> 1 & 0x5555555555555555u;
        bits = (bits & 0x3333333333333333u) + (bits >> 2 & 0x3333333333333333u);
        return static_cast<int>(((bits + (bits >> 4)) & 0x0f0f0f0f0f0f0f0fu) *
                                    0x0101010101010101u >> 56);
    }

    std::vector<Word> words_;
};

struct Postings {
    const CellDirectory* directory;
    const uint32_t* offsets;    // (n_cells + 1)
    const void* passages;       // (n_members) of uint16 or uint32
    int64_t n_members;
    bool wide;                  // passages are uint32

    const uint32_t* wide_passages() const { return static_cast<const uint32_t*>(passages); }
    const uint16_t* narrow_passages() const { return static_cast<const uint16_t*>(passages); }
    const void* address(int64_t member) const {
        return static_cast<const char*>(passages) + member * (wide ? 4 : 2);
    }
};

// Where a passage stands: the number of its segment among those given, and its position there.
struct Place {
    int64_t segment;
    int64_t position;
};

// All throw std::out_of_range when an array of the index points outside another.

// (vectors.n, centroids.n)
void centroid_scores(const Kernel&, const Vectors&, const Centroids&, int threads, float* scores);

// What gather reads beside the query.
struct Cells {
    const TiledCentroids* centroids;
    const int64_t* sizes;                  // (n centroids): passages of each cell, in all segments
    std::vector<Postings> postings;        // of each segment
    std::vector<const uint8_t*> selected;  // of each segment, (n_passages): whether it may be found
    std::vector<int64_t> n_passages;       // of each segment
};

// The `wanted` selected passages that look best by their centroids, rising. See cells.gather.
std::vector<Place> gather(const Kernel&, const Vectors&, const float* weights, const Cells&,
                          const Place* boosted, const float* boosts, int64_t n_boosted,
                          int64_t reach, int64_t wanted, int threads);

// Weighted MaxSim of rising `places`, or minus infinity where it plus the passage's `prior` is
// more than `slack` below the `limit` best sums. (n)
void refine(const Kernel&, const Vectors&, const float* weights, const Centroids&,
            const std::vector<Segment>&, const Place* places, const double* priors, int64_t n,
            int64_t limit, double slack, int threads, float* scores);

// (vectors.n, tokens of the passage)
void similarities(const Kernel&, const Vectors&, const Centroids&, const Segment&,
                  int64_t position, float* similarities);

}  // namespace rag_tools
