# frozen_string_literal: true

require "json"
require "open3"
require_relative "support/contract"

RSpec.describe "what the driver relies on of Test Kitchen" do
  facts = Support::Contract.facts

  {
    "a default" => 1, "a given value" => 5, "a default by block" => "1 of a-b", "a default by block follows" => "5 of a-b",
    "an inherited default" => "2 of a-b", "a relative path" => true, "no path" => nil, "an absolute path" => "/x",
    "all keys" => "file kitchen_root lazy needed other plain pre_create_command", "a key that nobody has" => nil,
    "false is a value" => false, "defaults of the class" => "file lazy plain pre_create_command", "the api version" => 2,
    "the version" => "1.2.3", "the diagnosis" => { plain: 1, lazy: "1 of a-b", needed: 1 }, "Windows" => [false, true],
    "create" => true, "destroy" => true, "package" => true, "doctor" => false, "a command before" => "nothing",
    "a command before that fails" => "Kitchen::ActionFailed | pre_create_command 'false'", "what is logged" => false,
    "what is missing" => "Kitchen::UserError | Support::Contract::Toy<a-b>#config[:needed] cannot be blank | NilClass",
    "what is blank" => "Kitchen::UserError | Support::Contract::Toy<a-b>#config[:needed] cannot be blank | NilClass",
    "no instance" => "Kitchen::ClientError",
    "ancestors of ActionFailed" => %w[Kitchen::ActionFailed Kitchen::TransientFailure Kitchen::StandardError StandardError],
    "UserError is no ActionFailed" => nil, "UserError" => true, "the original" => "Kitchen::ActionFailed | outer | ArgumentError",
    "no state" => {}, "state" => { hostname: "h", port: 1, list: ["x"] }, "its file" => ["a-b.yml"], "its end" => {}
  }.each do |fact, value|
    it "holds: #{fact}" do
      expect(facts.fetch(fact)).to eq(value)
    end
  end

  it "has no other facts" do
    expect(facts.size).to eq(self.class.examples.count { |example| example.description.start_with?("holds: ") })
  end

  it "agrees with the stand-in", :real_kitchen do
    support = File.expand_path("support", __dir__)
    script = 'require "json"; require "contract"; Kitchen::STAND_IN; puts JSON.generate(Support::Contract.facts)'
    said, status = Open3.capture2(RbConfig.ruby, "-I#{support}/stand_in", "-I#{support}", "-e", script)
    expect(status).to be_success
    expect(JSON.parse(said)).to eq(JSON.parse(JSON.generate(facts)))
  end
end
