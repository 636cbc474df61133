# frozen_string_literal: true

require "open3"

RSpec.describe Kitchen::Driver::Ovirt::KeyPair do
  let(:path) { File.join(folder, "keys/id") }

  it "is made once" do
    first = described_class.at(path).public_key
    expect(described_class.at(path).public_key).to eq(first)
  end

  it "is read by OpenSSH as we read it" do
    pair = described_class.at(path)
    said, status = Open3.capture2("ssh-keygen", "-y", "-f", path)
    expect(status).to be_success
    expect(said.split[0, 2]).to eq(pair.public_key.split)
  end

  # net-ssh 7.0 reads RSA as PEM only.
  { "ed25519" => [], "rsa" => %w[-m PEM], "ecdsa" => [] }.each do |type, format|
    it "has the public part of a given #{type} key without the file beside it" do
      FileUtils.mkdir_p(File.dirname(path))
      system("ssh-keygen", "-q", "-t", type, *format, "-N", "", "-f", path, exception: true)
      expected = File.read("#{path}.pub").split[0, 2]
      expect(described_class.new(path).public_key.split[0, 2]).to eq(expected)
      File.delete("#{path}.pub")
      expect(described_class.new(path).public_key.split).to eq(expected)
    end
  end

  it "says which file is missing" do
    expect { described_class.new(path).public_key }.to raise_error(Kitchen::UserError, /#{path}.*\.pub/)
  end

  it "asks nobody for a passphrase" do
    FileUtils.mkdir_p(File.dirname(path))
    system("ssh-keygen", "-q", "-t", "ed25519", "-N", "secret", "-f", path, exception: true)
    File.delete("#{path}.pub")
    expect { described_class.new(path).public_key }.to raise_error(Kitchen::UserError, /\.pub/)
  end
end
