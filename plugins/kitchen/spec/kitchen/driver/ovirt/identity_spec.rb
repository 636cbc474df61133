# frozen_string_literal: true

RSpec.describe Kitchen::Driver::Ovirt::Identity do
  def key(name: "web-debian-12", root: "/project", user: "me", host: "here")
    described_class.key(name, root, user: user, host: host)
  end

  it "is the same whenever it is made, readable and valid as the name of a VM" do
    expect(key).to eq(key).and match(/\Atk-web-debian-12-\h{12}\z/)
  end

  it "differs by instance, project, user and host" do
    keys = [key, key(name: "db-debian-12"), key(root: "/other"), key(user: "you"), key(host: "there")]
    expect(keys.uniq.size).to eq(5)
  end

  it "tells long and odd names apart" do
    long = "x" * 100
    expect([key(name: "#{long}1"), key(name: "#{long}2")].uniq.size).to eq(2)
    expect(key(name: long).length).to be <= 64
    expect(key(name: "a/b c")).to match(/\Atk-a-b-c-\h{12}\z/)
    expect(key(name: "a/b")).not_to eq(key(name: "a b"))
  end

  it "makes a valid host name" do
    expect(described_class.host_name("default_centos-9.stream")).to eq("default-centos-9-stream")
    long = [62, 63].map { |length| described_class.host_name("#{"x" * length}-y") }
    expect(long).to contain_exactly(match(/\Ax{56}-\h{6}\z/), match(/\Ax{56}-\h{6}\z/))
    expect(long.uniq.size).to eq(2)
  end

  it "makes a host name that Windows takes" do
    expect(described_class.host_name("web", 15)).to eq("web")
    expect(described_class.host_name("default-windows-2022", 15)).to match(/\Adefault--\h{6}\z/)
  end
end
