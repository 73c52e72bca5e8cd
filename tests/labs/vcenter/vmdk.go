package main

import (
	"bytes"
	"compress/zlib"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/ioutil"
	"sort"
)

// Stream-optimised VMDK, written from VMware's "Virtual Disk Format 5.0" and
// independently of the client under test.

const (
	sector     = 512
	grainBytes = 64 << 10
	grainSecs  = grainBytes / sector
	perTable   = 512
)

// image is a disk's content: grains that are left out are zero. Grains are
// never changed in place, so that images can share them.
type image struct {
	capacity int64
	grains   map[int64][]byte
}

func newImage(capacity int64) *image {
	return &image{capacity: capacity, grains: map[int64][]byte{}}
}

func (i *image) copy() *image {
	c := newImage(i.capacity)
	for n, g := range i.grains {
		c.grains[n] = g
	}
	return c
}

func (i *image) write(offset int64, data []byte) {
	for len(data) > 0 {
		n, at := offset/grainBytes, int(offset%grainBytes)
		g := make([]byte, grainBytes)
		copy(g, i.grains[n])
		done := copy(g[at:], data)
		i.grains[n] = g
		data, offset = data[done:], offset+int64(done)
	}
}

func (i *image) read(offset, length int64) []byte {
	out := make([]byte, length)
	for at := int64(0); at < length; {
		n, in := (offset+at)/grainBytes, (offset+at)%grainBytes
		end := at + grainBytes - in
		if end > length {
			end = length
		}
		if g := i.grains[n]; g != nil {
			copy(out[at:end], g[in:])
		}
		at = end
	}
	return out
}

func (i *image) numbers() []int64 {
	var out []int64
	for n := range i.grains {
		out = append(out, n)
	}
	sort.Slice(out, func(a, b int) bool { return out[a] < out[b] })
	return out
}

func pad(b *bytes.Buffer) {
	if r := b.Len() % sector; r != 0 {
		b.Write(make([]byte, sector-r))
	}
}

func header(capacity int64, directory uint64) []byte {
	b := new(bytes.Buffer)
	for _, v := range []interface{}{
		[]byte("KDMV"), uint32(3), uint32(0x30001), uint64(capacity / sector), uint64(grainSecs),
		uint64(1), uint64(1), uint32(perTable), uint64(0), directory, uint64(2), uint8(0), []byte("\n \r\n"), uint16(1),
	} {
		_ = binary.Write(b, binary.LittleEndian, v)
	}
	pad(b)
	return b.Bytes()
}

func encodeVmdk(i *image) []byte {
	b := new(bytes.Buffer)
	b.Write(header(i.capacity, 0xFFFFFFFFFFFFFFFF))
	fmt.Fprintf(b, "# Disk DescriptorFile\nversion=1\nCID=fffffffe\nparentCID=ffffffff\ncreateType=\"streamOptimized\"\nRW %d SPARSE \"lab.vmdk\"\nddb.adapterType = \"lsilogic\"\n", i.capacity/sector)
	pad(b)
	marked := func(kind uint32, data []byte) uint32 {
		_ = binary.Write(b, binary.LittleEndian, uint64((len(data)+sector-1)/sector))
		_ = binary.Write(b, binary.LittleEndian, uint32(0))
		_ = binary.Write(b, binary.LittleEndian, kind)
		pad(b)
		at := uint32(b.Len() / sector)
		b.Write(data)
		pad(b)
		return at
	}
	tables := (i.capacity/grainBytes + perTable) / perTable
	directory := make([]uint32, tables)
	table, current := make([]uint32, perTable), int64(-1)
	flush := func() {
		if current >= 0 {
			t := new(bytes.Buffer)
			_ = binary.Write(t, binary.LittleEndian, table)
			directory[current] = marked(1, t.Bytes())
			table = make([]uint32, perTable)
		}
	}
	for _, n := range i.numbers() {
		if n/perTable != current {
			flush()
			current = n / perTable
		}
		z := new(bytes.Buffer)
		w := zlib.NewWriter(z)
		_, _ = w.Write(i.grains[n])
		_ = w.Close()
		table[n%perTable] = uint32(b.Len() / sector)
		_ = binary.Write(b, binary.LittleEndian, uint64(n*grainSecs))
		_ = binary.Write(b, binary.LittleEndian, uint32(z.Len()))
		b.Write(z.Bytes())
		pad(b)
	}
	flush()
	d := new(bytes.Buffer)
	_ = binary.Write(d, binary.LittleEndian, directory)
	at := marked(2, d.Bytes())
	marked(3, header(i.capacity, uint64(at)))
	b.Write(make([]byte, sector))
	return b.Bytes()
}

func decodeVmdk(r io.Reader) (*image, error) {
	head := make([]byte, sector)
	if _, err := io.ReadFull(r, head); err != nil {
		return nil, err
	}
	if string(head[:4]) != "KDMV" {
		return nil, errors.New("not a VMDK")
	}
	i := newImage(int64(binary.LittleEndian.Uint64(head[12:])) * sector)
	overhead := int64(binary.LittleEndian.Uint64(head[64:]))
	if _, err := io.CopyN(ioutil.Discard, r, (overhead-1)*sector); err != nil {
		return nil, err
	}
	for {
		m := make([]byte, sector)
		if _, err := io.ReadFull(r, m); err != nil {
			return nil, fmt.Errorf("no end of stream: %v", err)
		}
		value, size := binary.LittleEndian.Uint64(m), binary.LittleEndian.Uint32(m[8:])
		if size == 0 {
			if binary.LittleEndian.Uint32(m[12:]) == 0 {
				return i, nil
			}
			if _, err := io.CopyN(ioutil.Discard, r, int64(value)*sector); err != nil {
				return nil, err
			}
			continue
		}
		data := make([]byte, (12+int64(size)+sector-1)/sector*sector)
		copy(data, m)
		if _, err := io.ReadFull(r, data[sector:]); err != nil {
			return nil, err
		}
		z, err := zlib.NewReader(bytes.NewReader(data[12 : 12+size]))
		if err != nil {
			return nil, err
		}
		plain, err := ioutil.ReadAll(z)
		if err != nil {
			return nil, err
		}
		g := make([]byte, grainBytes)
		copy(g, plain)
		i.grains[int64(value)/grainSecs] = g
	}
}
